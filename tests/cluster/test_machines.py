"""The pipeline itself on three workers, that meet in S3, and on one machine: the same tables, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from tests.cluster import toy
from tests.cluster.conftest import Server, free_port
from tests.helpers import file_bytes
from tests.test_pipeline import copy_project, tiny_settings, write

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "never-said", "AWS_DEFAULT_REGION": "us-east-1"}
NEUROP = [sys.executable, "-m", "pipeline"]


@pytest.fixture
def s3() -> Iterator[str]:
    """An S3 server with a bucket."""
    import boto3

    made = ThreadedMotoServer("127.0.0.1", free_port())
    made.start()
    host, port = made.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="never-said").create_bucket(
        Bucket="runs"
    )
    yield url
    made.stop()


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
    toy.git(root, "init", "-q")
    toy.call(root, sys.executable, "-m", "dvc", "init", "-q")
    toy.git(root, "add", "-A")
    toy.git(root, "commit", "-qm", "tiny")
    return root


def clone(origin: Path, place: Path, s3: str) -> Path:
    toy.clone(origin, place, "s3://runs/neurop")
    toy.dvc(place, "remote", "modify", "--local", "shared", "endpointurl", s3)
    return place


def test_three_workers_make_the_tables_of_one_machine(server: Server, origin: Path, s3: str, tmp_path: Path) -> None:
    more, database = {"PREFECT_API_URL": server.url, **KEYS}, tmp_path / "mlflow.db"
    machines = []
    try:
        for name in ("one", "two", "three"):
            place = clone(origin, tmp_path / name, s3)
            command = [*NEUROP, "worker", "cpu", "--name", name, "--workers", "1"]
            machines.append(toy.start(place, tmp_path / f"{name}.log", *command, **more))
        head = clone(origin, tmp_path / "head", s3)
        single = toy.clone(origin, tmp_path / "single", str(tmp_path / "unused"))
        toy.dvc(single, "repro", "-q", "report")
        for name in ("one", "two", "three"):
            log = tmp_path / f"{name}.log"
            toy.until(lambda log=log: "started!" in log.read_text(), f"the worker starts: {log.read_text()}")
        said = toy.call(head, *NEUROP, "flow", "report", "--pool", "cpu", **more)
        assert "failed" not in said, said
        assert file_bytes(head / "reports") == file_bytes(single / "reports")
        assert file_bytes(head / "data" / "runs") == file_bytes(single / "data" / "runs")
        assert not list(head.glob(".scratch/checkpoints"))  # the head has trained nothing
        trained = [name for name in ("one", "two", "three") if "Finished in" in (tmp_path / f"{name}.log").read_text()]
        assert len(trained) >= 2
        assert not list(tmp_path.rglob("one/mlflow.db"))  # a worker needs no MLflow
        logs = [*tmp_path.glob("*.log"), *head.rglob("logs/flow/*.log")]
        assert not [path.name for path in logs if KEYS["AWS_SECRET_ACCESS_KEY"] in path.read_text()]
        address = {"MLFLOW_TRACKING_URI": f"sqlite:///{database}", "NEUROP_TRACKING": "on"}
        assert "6 published" in toy.call(head, *NEUROP, "publish", **address)
    finally:
        for each in machines:
            toy.stop(each)
