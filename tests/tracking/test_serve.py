"""`neurop serve`: what it refuses, and a server through which everything goes that goes through a database."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from pipeline import tracking
from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.tracking import publish, serve
from tests.helpers import free_port
from tests.tracking.made_up import dump, named, write_outputs


def checked(tmp_path: Path, **changed: object) -> serve.Server:
    given = {"host": "127.0.0.1", "port": free_port(), "allow": [], "database": f"sqlite:///{tmp_path}/m.db"}
    return serve.checked(**{**given, "artefacts": str(tmp_path / "artefacts"), **changed})  # type: ignore[arg-type]


def test_without_options_only_this_machine_is_let_in(tmp_path: Path) -> None:
    server = checked(tmp_path)
    assert server.address == f"http://127.0.0.1:{server.port}"
    assert server.allowed == (f"localhost:{server.port}", f"127.0.0.1:{server.port}")
    assert (tmp_path / "artefacts").is_dir()
    assert not any("sqlite" in word for word in server.command)  # command lines are read by every user
    assert server.environment["MLFLOW_BACKEND_STORE_URI"].startswith("sqlite:////")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"host": "0.0.0.0"}, "lets other machines in, and MLflow asks no one for a password"),
        ({"host": "0.0.0.0", "allow": ["gpu1"]}, "--allow gpu1 lacks the port"),
        ({"allow": ["http://gpu1:5000"]}, "is no address"),
        ({"allow": ["*"]}, "is no address"),
        ({"port": 0}, "is no port"),
        ({"port": 70000}, "is no port"),
        ({"host": "192.0.2.1", "allow": ["a:1"]}, "cannot be listened on"),
        ({"database": "m.db"}, "--database 'm.db' is none"),
        ({"database": "mysql://u:hidden@h/d"}, r"--database 'mysql://h/d' is none"),
        ({"database": "sqlite:////proc/nowhere/m.db"}, "cannot be opened"),
        ({"database": "postgresql://u:hidden@127.0.0.1:1/d"}, r"postgres|PostgreSQL"),
        ({"artefacts": "/proc/nowhere"}, "is no folder"),
        ({"artefacts": "ftp://host/place"}, "neither a folder nor in S3"),
        ({"artefacts": "s3://"}, "is no place in S3"),
    ],
)
def test_what_it_refuses_is_one_line(tmp_path: Path, changed: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why) as raised:
        checked(tmp_path, **changed)
    assert "hidden" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match=r"is taken; give another with --port"):
            checked(tmp_path, port=other.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that `neurop serve` has started."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    command = [sys.executable, "-m", "pipeline", "serve", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            urlopen(f"{address}/health", timeout=2).close()
            break
        except (URLError, OSError):
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.3)
    assert f"export MLFLOW_TRACKING_URI={address}" in (folder / "log").read_text()
    yield address
    process.terminate()
    process.wait(30)


def test_a_name_that_is_not_allowed_is_turned_away(served: str) -> None:
    with pytest.raises(HTTPError) as raised:
        urlopen(Request(f"{served}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": "evil.org"}))
    assert raised.value.code == 403


def test_publishing_through_a_server(
    served: str, root: Path, grid: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same record as in a file; links to its pages; the evaluations come back to the byte."""
    write_outputs(grid)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served)
    publish(grid)
    before = dump()
    publish(grid)
    assert dump() == before
    assert named(before, "sumfirst/meta_mlp/0")
    page = tracking.links(["sumfirst/meta_mlp/0", "sumfirst/none/0"])
    assert list(page) == ["sumfirst/meta_mlp/0"]
    assert page["sumfirst/meta_mlp/0"].startswith(f"{served}/#/experiments/")
    tracking.download(grid, "sumfirst", "meta_mlp", tmp_path / "fetched")
    for name in ("accuracy.csv", "runs.json"):
        there = root / "data" / "evaluations" / "sumfirst" / "meta_mlp" / name
        assert (tmp_path / "fetched" / name).read_bytes() == there.read_bytes()


def test_there_are_no_links_to_a_file(root: Path) -> None:
    assert tracking.links(["sumfirst/meta_mlp/0"]) == {}
