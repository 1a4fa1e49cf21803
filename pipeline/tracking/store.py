"""What both sides of tracking do with MLflow: experiments, runs found by their tags, points logged once."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipeline.errors import UserError
from pipeline.tracking import address

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUN = "neurop.run"
CONFIGURATION = "neurop.configuration"
OUTPUTS = "neurop.outputs"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
SOURCE = "mlflow.source.name"

METRICS_A_CALL, PARAMS_A_CALL = 1000, 100
ATTEMPTS, SECONDS_BETWEEN_ATTEMPTS = 5, 0.5

Point = tuple[str, int]  # metric and step

# MLflow shows the first line of it on every page of the experiment, and opens on its pages for language models.
EXPERIMENT_NOTE = """**{study}**: choose *Model training* at the top left. A row is a learner; below it are its seeds. \
In ablations it is a variant of meta_gnn.

* `accuracy/<split>`: solved share, with the weights that val selected; for a row, of the seed that val selects
* `median/<split>`, `mean/<split>` of a row: over its seeds; `low/<split>`, `high/<split>`: interval of the mean
* `curve/…`: training loss and what val says, by step; `std/<tensor>`, `rank/<tensor>`: spread and effective rank of
  the weights that the learner generates

DVC holds the truth; `neurop publish` brings these pages up to date with it."""


@dataclass(frozen=True)
class Store:
    """MLflow at the tracking address. `connect` makes one; what goes wrong with it is a `UserError`."""

    client: MlflowClient

    @staticmethod
    def connect() -> Store:
        """Import MLflow and open the address. Raises `UserError` if there is no MLflow here or no answer there."""
        address.check()
        _prepare()
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise UserError(f"MLflow is not installed ({error}); install it with `pip install mlflow`") from None
        # Several runs may start at once where there is no database yet; MLflow itself lets them collide.
        try:
            with address.exclusive():
                store = Store(MlflowClient(address.uri(), address.uri()))
                store.client.search_experiments(max_results=1)
        except Exception as error:  # besides MLflow's own: those of database drivers, missing drivers too
            raise _failure(error) from None
        return store

    def experiment(self, study: str) -> str:
        """The id of a study's experiment, which is made if it is not there. Call it under `address.exclusive`."""
        name = f"neurop/{study}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            path = address.database()
            # A server decides itself where artefacts are; without one they lie beside the database.
            place = None if path is None else (path.parent / address.ARTEFACTS / study).absolute().as_uri()
            tags = {NOTE: EXPERIMENT_NOTE.format(study=study)}
            return str(self.client.create_experiment(name, place, tags))
        if found.lifecycle_stage != "active":
            command = f"mlflow experiments restore -x {found.experiment_id}"
            raise UserError(f"the MLflow experiment {name} is deleted; restore it with `{command}`")
        _check_place(name, found.artifact_location)
        return str(found.experiment_id)

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """The runs that have these tags, newest first."""
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(self.client.search_runs([experiment], condition, order_by=["start_time DESC"]))

    def parent(self, experiment: str, study: str, name: str, group: str, settings: Mapping[str, str]) -> str:
        """The id of the run that stands for a recipe, made if it is not there. Call it under `address.exclusive`."""
        tags = {RUN: f"{study}/{name}", CONFIGURATION: group}
        found = self.find(experiment, tags)
        if found:
            return str(found[-1].info.run_id)  # the oldest, should two machines have made one each
        run = str(self.client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        self.log(run, settings={key: value for key, value in settings.items() if key != "seed"})
        self.client.set_terminated(run)
        return run

    def create(self, experiment: str, parent: str, name: str, tags: Mapping[str, str], started: float) -> str:
        """Make the run of one seed, with the state RUNNING. `started` is in seconds since 1970."""
        title = name.partition("/")[2].replace("/", " seed ")
        tags = {RUN: name, PARENT: parent, **tags}
        return str(self.client.create_run(experiment, int(started * 1000), tags, title).info.run_id)

    def log(
        self,
        run: str,
        points: Mapping[Point, tuple[float, float]] | None = None,
        settings: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log points ((metric, step): (value, seconds since 1970)), settings, tags: as many a call as MLflow takes."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [
            Metric(key, value, int(seconds * 1000), step) for (key, step), (value, seconds) in (points or {}).items()
        ]
        for start in range(0, len(metrics), METRICS_A_CALL):
            _patiently(partial(self.client.log_batch, run, metrics=metrics[start : start + METRICS_A_CALL]))
        params = [Param(key, value) for key, value in (settings or {}).items()]
        for start in range(0, len(params), PARAMS_A_CALL):
            _patiently(partial(self.client.log_batch, run, params=params[start : start + PARAMS_A_CALL]))
        if tags:
            _patiently(partial(self.client.log_batch, run, tags=[RunTag(key, value) for key, value in tags.items()]))

    def upload(self, run: str, path: Path, place: str | None = None) -> None:
        """Add a file to a run's artefacts, or to their folder `place`, instead of an older one."""
        _patiently(partial(self.client.log_artifact, run, str(path), place))

    def fetch(self, run: str, name: str, directory: Path, most_bytes: int) -> Path:
        """Copy one of a run's artefacts, which must be no larger than that, into an existing directory."""
        sizes = {file.path: file.file_size for file in self.client.list_artifacts(run) if not file.is_dir}
        if name not in sizes:
            raise UserError(f"MLflow's run {run} lacks the artefact {name}; run `neurop publish`")
        # Its size is asked for before it is fetched, and measured after: the store may say anything.
        if (sizes[name] or 0) <= most_bytes:
            path = Path(self.client.download_artifacts(run, name, str(directory)))
            if path == directory / name and path.stat().st_size <= most_bytes:
                return path
        raise UserError(
            f"{name} of MLflow's run {run} is larger than {most_bytes} bytes; it is not of `neurop publish`"
        )

    def points(self, run: Run) -> dict[Point, float]:
        """All points of a run."""
        return {
            (key, metric.step): metric.value
            for key in run.data.metrics
            for metric in self.client.get_metric_history(run.info.run_id, key)
        }


def _check_place(experiment: str, place: str) -> None:
    """Raise `UserError` if the artefacts lie where this machine cannot put them."""
    if address.served() and place.startswith("file:") and not Path(unquote(urlsplit(place).path)).parent.exists():
        raise UserError(
            f"the MLflow experiment {experiment} was made without a server and keeps its artefacts in a folder of "
            "another machine; serve a new database with `neurop serve --database`, then publish there"
        )
    if place.startswith("mlflow-artifacts:") and not address.served():
        raise UserError(
            f"the MLflow experiment {experiment} was made by a server, which alone reaches its artefacts; "
            "start `neurop serve` and set MLFLOW_TRACKING_URI as it says"
        )


def points(row: Mapping[str, float | None]) -> dict[Point, float]:
    """A row of the history as points; what is no finite number is none (the loss before the first step)."""
    step = int(row["step"] or 0)
    return {
        (metric(column), step): value
        for column, value in row.items()
        if column != "step" and value is not None and math.isfinite(value)
    }


def metric(column: str) -> str:
    """MLflow's name of a column of the history: what stands before a slash is drawn as a section of its own."""
    return column.replace(".", "/", 1) if "." in column else f"curve/{column}"


@contextmanager
def reported() -> Iterator[None]:
    """Turn what MLflow raises into a `UserError` of one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise _failure(error) from None


def _failure(error: Exception) -> UserError:
    return UserError(f"MLflow at {address.shown()}: {' '.join(str(error).split())[:200]}")


def _prepare() -> None:
    """Settings that MLflow reads from the environment when it is imported."""
    os.environ |= {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    # As shipped, MLflow tries a server that went away for many minutes.
    bounds = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    }
    for name, value in (quiet | bounds).items():
        os.environ.setdefault(name, value)
    # Its warnings and tracebacks; what matters is raised as well.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    logging.getLogger("alembic").setLevel(logging.CRITICAL)


def _patiently(call: Callable[[], Any]) -> None:
    """Call again, a few times, if another process keeps the database busy."""
    from mlflow.exceptions import MlflowException

    for attempt in range(1, ATTEMPTS + 1):
        try:
            call()
            return
        except MlflowException as error:
            if error.error_code != "TEMPORARILY_UNAVAILABLE" or attempt == ATTEMPTS:
                raise
        time.sleep(SECONDS_BETWEEN_ATTEMPTS)
