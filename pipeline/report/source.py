"""Where a report's numbers come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """The inputs of a report, each of them explicit.

    `settings_name` is how the page calls the settings file, so that no page names a place on a machine.
    A `complete` report needs every run that the settings name; otherwise what is not there is
    shown as missing. `graphs` may hold drawings, `<family>/graph.svg`; those that are there are shown.
    """

    title: str
    settings: Path
    settings_name: str
    evaluations: Path
    splits: Path
    graphs: Path
    analyses: Path
    complete: bool

    def evaluation(self, study: str, name: str) -> Path:
        """The directory with `accuracy.csv` and `runs.json` of one recipe."""
        return self.evaluations / study / name

    def remedy(self, stage: str) -> str:
        """What to do about a wrong file that the DVC stage `stage` makes."""
        return f"run `dvc repro {stage}`" if self.complete else "restore it from Git"


def current(root: Path = Path()) -> Source:
    """The evaluations of `params.yaml`: all of its grid."""
    return Source(
        title="NeuroP: the current settings",
        settings=root / "params.yaml",
        settings_name="params.yaml",
        evaluations=root / "data" / "evaluations",
        splits=root / "data" / "metrics" / "splits",
        graphs=root / "data" / "graphs",
        analyses=root / "data" / "analyses",
        complete=True,
    )


def paper(root: Path = Path()) -> Source:
    """The stored evaluations of the paper's protocol, as far as they are made."""
    results = root / "results" / "paper"
    return Source(
        title="NeuroP: the paper’s protocol",
        settings=root / "profiles" / "paper.yaml",
        settings_name="profiles/paper.yaml",
        evaluations=results / "evaluations",
        splits=results / "splits",
        graphs=results / "graphs",
        analyses=results / "analyses",
        complete=False,
    )
