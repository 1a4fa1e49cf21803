"""MLflow as a projection of the DVC outputs: curves while a run trains, and `publish`, which completes them.

Light on purpose: training imports this package, and MLflow is imported only in the follower's process and in `publish`.

Environment: `MLFLOW_TRACKING_URI` (default `sqlite:///mlflow.db` in the working directory, artefacts in
`mlartifacts/`), `NEUROP_TRACKING` (`on` or `off`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.follower import Follower

if TYPE_CHECKING:
    from pipeline.params import Params


def publish(params: Params, root: Path | None = None) -> None:
    """Bring MLflow up to date with the outputs below `root` (the working directory); see `publishing.publish`."""
    from pipeline.tracking import publishing

    publishing.publish(params, root or Path())


def download(params: Params, study: str, name: str, directory: Path) -> None:
    """Fetch one recipe's published evaluations into `directory`; see `publishing.download`."""
    from pipeline.tracking import publishing

    publishing.download(params, study, name, directory)


def download_inputs(params: Params, family: str, directory: Path) -> Path:
    """Fetch what a report shows of a family beside evaluations; see `publishing.download_inputs`."""
    from pipeline.tracking import publishing

    return publishing.download_inputs(params, family, directory)


def links(names: Iterable[str]) -> dict[str, str]:
    """Where MLflow's pages of runs are, such as that of `addmod/meta_mlp/0`; see `pages.links`."""
    from pipeline.tracking import pages

    return pages.links(names)


__all__ = ["Follower", "download", "download_inputs", "links", "publish"]
