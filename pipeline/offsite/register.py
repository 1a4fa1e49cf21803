"""Tells DVC that runs which it did not make itself are done."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.offsite.missing import Item


def register(items: Sequence[Item], root: Path = Path()) -> None:
    """Take outputs in the working directory for those of their stages, so that `dvc repro` does not train again.

    Says so in a line where there is no DVC.
    """
    if not items:
        return
    if not (root / ".dvc").is_dir() or importlib.util.find_spec("dvc") is None:
        print("there is no DVC here; `neurop bundle` takes the runs to where it is", file=sys.stderr)
        return
    from dvc.exceptions import DvcException

    from pipeline.explain import repository

    with repository() as found:
        for item in items:
            try:
                found.commit(item.run.stage, force=True)
            except DvcException as error:
                raise UserError(f"{item.run.title} is in its place, but DVC does not take it: {error}") from None
