"""A report's inputs as MLflow holds them: `neurop report --from mlflow` needs nothing of `data/`.

What a store holds was written by others. Only texts are taken, each is checked before it becomes a file, and none is
run: the programs among them are shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import params, tracking
from pipeline.errors import UserError
from pipeline.files import read_json, write_text
from pipeline.report import Source, current
from pipeline.training.recipe import recipes

MOST_CHARACTERS = 1 << 23
NAME = re.compile(r"[A-Za-z0-9_]+")
# The page holds drawings as they are, and a browser would run what is in them.
ACTIVE = re.compile(
    r"<\s*(script|foreignobject|iframe|object|embed|!entity)|\bon[a-z]+\s*=|javascript\s*:", re.IGNORECASE
)
SOURCE_OF_PAGE = "MLflow"


@contextmanager
def mirrored(root: Path = Path()) -> Iterator[Source]:
    """The source of the report of `params.yaml`, fetched from MLflow; it is gone when the block ends.

    Within the block a `UserError` about what was fetched says to publish.
    """
    source = current(root)
    settings = params.load(source.settings)
    with TemporaryDirectory() as directory:
        data = Path(directory)
        for of in recipes(settings):
            tracking.download(settings, of.study, of.name, data / "evaluations" / of.study / of.name)
        for family in settings.grid.families:
            texts = read_json(tracking.download_inputs(settings, family, data / "fetched" / family))
            for name, text in checked(family, texts).items():
                write_text(data / name, text)
        try:
            yield Source(
                title=source.title,
                settings=source.settings,
                settings_name=source.settings_name,
                evaluations=data / "evaluations",
                splits=data / "metrics" / "splits",
                graphs=data / "graphs",
                analyses=data / "analyses",
                complete=source.complete,
            )
        except UserError as error:
            if directory not in str(error):
                raise
            what = str(error).partition(";")[0].replace(f"{directory}/", f"{SOURCE_OF_PAGE}'s ")
            raise UserError(f"{what}; run `neurop publish` where the outputs are") from None


def checked(family: str, texts: Any) -> dict[str, str]:
    """The texts of a family by their paths below `data/`. Raises `UserError` for what `publish` does not write."""
    if not isinstance(texts, dict):
        raise UserError(f"MLflow's {family}/inputs holds no texts; run `neurop publish`")
    for name, text in texts.items():
        why = _path(family, name) or _text(PurePosixPath(name), text)
        if why:
            shown = re.sub(r"[^\w./-]", "?", str(name))[:100]
            raise UserError(f"MLflow's {family}/inputs: {shown} {why}; delete that run and run `neurop publish`")
    return texts


def _path(family: str, name: str) -> str:
    """What is wrong with a path."""
    if name in (f"metrics/splits/{family}.json", f"graphs/{family}/graph.svg"):
        return ""
    if name.startswith("/") or ".." in name.split("/"):
        return "leads out of its folder"
    parts = name.split("/")
    stem, _, suffix = parts[-1].partition(".")
    if parts[:2] != ["analyses", family] or len(parts) not in (4, 5) or suffix not in ("csv", "json", "py", "svg"):
        return "is no file of a report"
    if not all(NAME.fullmatch(part) for part in (*parts[2:-1], stem)):
        return "has a name that no analysis gives"
    return ""


def _text(path: PurePosixPath, text: Any) -> str:
    """What is wrong with the text of a file."""
    if not isinstance(text, str):
        return "is no text"
    if len(text) > MOST_CHARACTERS:
        return f"is longer than {MOST_CHARACTERS} characters"
    if path.suffix == ".svg" and ACTIVE.search(text):
        return "holds a script"
    return _finding(path, text) if path.name == "finding.json" else ""


def _finding(path: PurePosixPath, text: str) -> str:
    """What is wrong with an analysis: the report makes paths of the names in it."""
    try:
        said = json.loads(text)
        names = [said["name"], *said["tables"], *said["figures"], *said["programs"]]
    except (ValueError, KeyError, TypeError):
        return "is no analysis"
    if said["name"] != path.parent.name or not all(isinstance(one, str) and NAME.fullmatch(one) for one in names):
        return "names files that no analysis has"
    return ""
