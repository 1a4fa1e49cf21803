"""The pipeline itself on three workers, that meet in S3, and on one machine: the same tables, byte for byte."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import toy
from tests.cluster.conftest import S3, Server
from tests.helpers import file_bytes, free_port
from tests.test_pipeline import copy_project, tiny_settings, write

REMOTE = "s3://runs/neurop"
NEUROP = [sys.executable, "-m", "pipeline"]


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The project with tiny settings, committed."""
    root = tmp_path / "origin"
    root.mkdir()
    copy_project(root)
    settings = tiny_settings()
    settings["grid"].update(families=["sumfirst"], seeds=[0, "1-2"])
    settings["ablations"]["families"] = []
    write(root, settings)
    toy.commit_all(root)
    return root


def serve(root: Path, log: Path, port: int) -> subprocess.Popen[bytes]:
    """An MLflow server that answers."""
    made = toy.start(root, log, *NEUROP, "serve", "--port", str(port))
    toy.until(lambda: "startup complete" in log.read_text(), f"the MLflow server starts: {log.read_text()}")
    return made


def test_three_workers_make_the_tables_of_one_machine(server: Server, origin: Path, s3: S3, tmp_path: Path) -> None:
    """Meanwhile the MLflow server is killed: nothing waits for it, and its record is completed later."""
    names, port = ("one", "two", "three"), free_port()
    more, record = {"PREFECT_API_URL": server.url, **s3.keys}, {"NEUROP_TRACKING": "on"}
    record["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    started = []
    try:
        for name in names:
            place = toy.clone(origin, tmp_path / name, REMOTE, **s3.options)
            command = [*NEUROP, "worker", "cpu", "--name", name, "--workers", "1"]
            started.append(toy.start(place, tmp_path / f"{name}.log", *command, **more, **record))
        head = toy.clone(origin, tmp_path / "head", REMOTE, **s3.options)
        mlflow = serve(head, tmp_path / "mlflow.log", port)
        started.append(mlflow)
        single = toy.clone(origin, tmp_path / "single", str(tmp_path / "unused"))
        toy.dvc(single, "repro", "-q", "report")
        for log in (tmp_path / f"{name}.log" for name in names):
            toy.until(lambda log=log: "started!" in log.read_text(), f"the worker starts: {log.read_text()}")
        flow = toy.start(head, tmp_path / "flow.log", *NEUROP, "flow", "report", "--pool", "cpu", **more, **record)
        toy.until(lambda: toy.processes(tmp_path, "stages.train"), "a stage trains", 240)
        toy.stop(mlflow)
        assert flow.wait(400) == 0, (tmp_path / "flow.log").read_text()
        assert "not all is in MLflow" in (tmp_path / "flow.log").read_text()
        assert file_bytes(head / "reports") == file_bytes(single / "reports")
        assert file_bytes(head / "data" / "runs") == file_bytes(single / "data" / "runs")
        trained = [name for name in names if "Finished in" in (tmp_path / f"{name}.log").read_text()]
        assert len(trained) >= 2
        logs = [*tmp_path.glob("*.log"), *tmp_path.rglob("logs/flow/*.log")]
        assert not [path.name for path in logs if s3.keys["AWS_SECRET_ACCESS_KEY"] in path.read_text()]
        started.append(serve(head, tmp_path / "mlflow-again.log", port))
        said = toy.call(head, *NEUROP, "publish", **record)
        assert sum(int(number) for number in re.findall(r"(\d+) (?:published|already)", said)) == 6, said
        again = toy.call(head, *NEUROP, "report", "--from", "mlflow", "--check", **record)
        assert "reports: regenerated to the same bytes" in again
    finally:
        for each in started:
            toy.stop(each)
