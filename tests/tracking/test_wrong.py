"""Missing and stale outputs, wrong addresses, servers that are down: one line each."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.files import read_json, write_json
from pipeline.params import Params
from pipeline.tracking import Follower, publish
from pipeline.training.run import Places
from tests.helpers import ROOT
from tests.tracking.made_up import FAMILY, FIRST, LEARNER, dump, named, row, write_outputs


def test_a_missing_run_is_named_and_the_others_are_published(
    root: Path, grid: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outputs(grid)
    shutil.rmtree(Places().run(FIRST))
    with pytest.raises(UserError, match=rf"for want of outputs: {FIRST}; run `dvc repro`"):
        publish(grid)
    said = capsys.readouterr()
    assert said.out == "1 published, 0 already there\n"
    assert said.err.count("\n") == 1
    assert "config.json is missing" in said.err


def stale_settings(grid: Params) -> None:
    config = read_json(Places().run(FIRST) / "config.json")
    config["settings"]["learning_rate"] = 0.5
    write_json(Places().run(FIRST) / "config.json", config)


def stale_evaluation(grid: Params) -> None:
    path = Path("data/evaluations") / FAMILY / LEARNER / "runs.json"
    write_json(path, [run | {"configuration": "another"} for run in read_json(path)])


@pytest.mark.parametrize(
    ("spoil", "reason"), [(stale_settings, "other settings"), (stale_evaluation, "of another training")]
)
def test_stale_outputs_are_not_published(
    spoil: Callable[[Params], None], reason: str, root: Path, grid: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    write_outputs(grid)
    spoil(grid)
    with pytest.raises(UserError, match=str(FIRST)):
        publish(grid)
    assert reason in capsys.readouterr().err
    assert named(dump(), str(FIRST)) == []


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def web_server() -> Iterator[int]:
    """A server on the loopback interface that is not MLflow."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "uri", ["http://", "http://127.0.0.1:99999", "nonsense://there", "sqlite:////proc/none/mlflow.db", "runs"]
)
def test_a_wrong_address_is_one_line(uri: str, root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError) as raised:
        publish(grid)
    assert uri in str(raised.value) or "/proc/none" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_down_or_another_is_one_line(
    closed_port: int, web_server: int, root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{closed_port}")
    with pytest.raises(UserError, match=f"does not answer at http://127.0.0.1:{closed_port}"):
        publish(grid)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{web_server}")
    with pytest.raises(UserError, match=f"MLflow at http://127.0.0.1:{web_server}: .*404"):
        publish(grid)


def test_a_damaged_database_is_one_line(root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("broken.db").write_bytes(b"this is no database" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///broken.db")
    with pytest.raises(UserError, match=r"broken\.db cannot be opened \(file is not a database\)"):
        publish(grid)


def test_publish_without_mlflow_says_what_to_do(root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match="pip install mlflow"):
        publish(grid)


def test_tracking_can_be_switched_off(
    root: Path, grid: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEUROP_TRACKING", "off")
    with Follower(FIRST, grid) as following:
        following.send(0, row(0, 0))
        assert following.process is None
    publish(grid)
    assert capsys.readouterr() == ("tracking is off (NEUROP_TRACKING=off); nothing is published\n", "")
    monkeypatch.setenv("NEUROP_TRACKING", "maybe")
    with pytest.raises(UserError, match="give on or off"):
        publish(grid)


def test_the_command_line_takes_publish_only(root: Path) -> None:
    command = [sys.executable, "-m", "pipeline.tracking", "nonsense"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "give `publish`" in done.stderr
