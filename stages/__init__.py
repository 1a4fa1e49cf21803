"""One thin program per DVC stage."""

from __future__ import annotations

from pipeline.errors import UserError
from pipeline.params import FAMILIES


def arguments(argv: list[str], stage: str, *names: str) -> list[str]:
    """The stage's arguments. Raises `UserError` if their number or a family is wrong: paths are made of them."""
    usage = f"run `python -m stages.{stage} {' '.join(names)}`"
    if len(argv) != len(names):
        raise UserError(f"stages.{stage} takes {len(names)} arguments, not {len(argv)}; {usage}")
    for name, value in zip(names, argv, strict=True):
        if name == "FAMILY" and value not in FAMILIES:
            raise UserError(f"there is no family '{value}'; there are {', '.join(FAMILIES)}")
    return argv
