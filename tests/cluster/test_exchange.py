"""What machines exchange through a DVC remote, between two clones, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.flows.entries import check_entry, check_names
from tests.cluster import toy
from tests.cluster.conftest import S3

TRAIN = "train@toy-m-0"


def exchange(root: Path, *arguments: str, code: int = 0, **more: str) -> str:
    done = toy.call(root, sys.executable, "-m", "pipeline.flows.exchange", *arguments, code=code, **more)
    return done.strip().splitlines()[-1]


Clones = tuple[Path, Path]


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clones, of which the head's has the data."""
    folder = tmp_path_factory.mktemp("new")
    origin = toy.make(folder / "origin", [0, 1])
    for name in ("head", "worker"):
        toy.clone(origin, folder / name, str(folder / "remote"))
    toy.dvc(folder / "head", "repro", "-q", "generate")
    return folder


@pytest.fixture(scope="module")
def used(new: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clones, of which the worker's has run a stage for the head's."""
    folder = tmp_path_factory.mktemp("used")
    carry(*_copy(new, folder))
    return folder


@pytest.fixture
def clones(new: Path, tmp_path: Path) -> Clones:
    """A head that has made the data, and a worker's clone that has nothing; between them a folder."""
    return _copy(new, tmp_path)


@pytest.fixture
def carried(used: Path, tmp_path: Path) -> Clones:
    """The same, after the worker has run a stage for the head."""
    return _copy(used, tmp_path)


def _copy(source: Path, folder: Path) -> Clones:
    shutil.copytree(source, folder, dirs_exist_ok=True, symlinks=True)
    for name in ("head", "worker"):
        toy.set_remote(folder / name, str(folder / "remote"))
    return folder / "head", folder / "worker"


def carry(head: Path, worker: Path, **more: str) -> None:
    """One stage, run by the worker for the head."""
    inputs = worker / ".scratch" / "inputs.json"
    inputs.parent.mkdir(exist_ok=True)
    inputs.write_text(exchange(head, "offer", TRAIN, **more))
    exchange(worker, "accept", str(inputs), **more)
    toy.dvc(worker, "repro", "-q", "--single-item", TRAIN)
    exchange(worker, "give", TRAIN, **more)


def test_a_stage_that_one_clone_has_run_is_taken_by_the_other(clones: Clones) -> None:
    head, worker = clones
    assert exchange(head, "take", TRAIN) == "false"
    carry(head, worker)
    assert not (worker / "report.json").exists()
    assert exchange(head, "take", TRAIN) == "true"
    assert json.loads((head / "runs/0/sums.json").read_text()) == list(range(10))
    assert "up to date" in toy.dvc(head, "status", TRAIN)
    assert exchange(head, "take", "train@toy-m-1") == "false"


def test_outputs_of_earlier_inputs_in_the_lock_do_not_stand_in_the_way(clones: Clones) -> None:
    head, worker = clones
    toy.dvc(head, "repro", "-q", "--single-item", TRAIN)
    for clone in clones:
        (clone / "toy.py").write_text((clone / "toy.py").read_text().replace("+ len(sums)", "+ 2 * len(sums)"))
    carry(head, worker)
    assert exchange(head, "take", TRAIN) == "true"
    assert json.loads((head / "runs/0/sums.json").read_text()) == list(range(0, 20, 2))


def test_an_entry_under_the_name_of_other_inputs_is_refused(carried: Clones, tmp_path: Path) -> None:
    head, _ = carried
    (entry,) = (path for path in (tmp_path / "remote" / "runs").rglob("*") if path.is_file())
    entry.write_text(entry.read_text().replace("toy.py train 0", "toy.py train 5"))
    assert "is of other inputs" in exchange(head, "take", TRAIN, code=2)
    assert not (head / "runs" / "0").exists()


def test_other_inputs_are_another_run(carried: Clones) -> None:
    head, _ = carried
    (head / "data/x.json").write_text('{"x": 8}')
    assert exchange(head, "take", TRAIN) == "false"


@pytest.mark.parametrize("directory", [False, True])
def test_a_damaged_object_is_not_taken_and_can_be_put_there_anew(
    carried: Clones, tmp_path: Path, directory: bool
) -> None:
    head, worker = carried
    for path in (tmp_path / "remote" / "files").rglob("*"):
        if path.is_file() and (path.suffix == ".dir") is directory:
            path.chmod(0o644)
            path.write_bytes(path.read_bytes() + b" ")
    assert exchange(head, "take", TRAIN, code=2).startswith(f"error: the files of {TRAIN} were damaged")
    assert not (head / "runs" / "0").exists()
    assert exchange(head, "take", TRAIN) == "false"
    exchange(worker, "give", TRAIN)
    assert exchange(head, "take", TRAIN) == "true"


def test_an_entry_that_writes_elsewhere_is_refused(carried: Clones, tmp_path: Path) -> None:
    head, _ = carried
    (entry,) = (path for path in (tmp_path / "remote" / "runs").rglob("*") if path.is_file())
    entry.write_text(entry.read_text().replace("runs/0", "../outside"))
    assert "names other outputs than its stage has (../outside)" in exchange(head, "take", TRAIN, code=2)
    assert not (tmp_path / "outside").exists()


def test_no_remote_no_rights_no_place(clones: Clones, tmp_path: Path) -> None:
    head, _ = clones
    assert exchange(head, "check") == "null"
    toy.set_remote(head, "/proc/nowhere")
    assert exchange(head, "check", code=2).startswith("error: the DVC remote 'shared' (/proc/nowhere): ")
    (head / ".dvc" / "config.local").unlink()
    assert exchange(head, "check", code=2).startswith("error: no DVC remote is the default here; give one:")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"outs": [{"path": "other"}]}, "other outputs"),
        ({"outs": []}, "other outputs"),
        ({"outs": [{"path": "runs/0", "size": 1 << 50}]}, "MiB"),
        ({"outs": [{"path": "runs/0", "isexec": True}]}, "executable"),
    ],
)
def test_entries_are_checked(entry: dict, why: str) -> None:
    check_entry("x", {"outs": [{"path": "runs/0", "size": 5}]}, ["runs/0"])
    with pytest.raises(UserError, match=why):
        check_entry("x", entry, ["runs/0"])


@pytest.mark.parametrize("name", ["../x.json", "/x.json", "a/../../x.json", "..\\x.json", "weights.pt", "run.sh", "a"])
def test_names_are_checked(name: str) -> None:
    check_names("runs/0", ["weights.safetensors", "a/b.parquet"])
    with pytest.raises(UserError, match="nothing is taken"):
        check_names("runs/0", ["weights.safetensors", name])


def test_the_password_of_a_remote_is_not_said(clones: Clones) -> None:
    head, _ = clones
    toy.set_remote(head, "ssh://me:hidden@127.0.0.1:1/place")
    said = toy.call(head, sys.executable, "-m", "pipeline.flows.exchange", "check", code=2)
    assert "hidden" not in said


def test_machines_meet_in_s3(clones: Clones, s3: S3) -> None:
    """With a real S3 server, which is away for a while; the key is in the environment, not in the repository."""
    head, worker = clones
    for clone in clones:
        toy.set_remote(clone, "s3://runs/neurop", **s3.options)
    exchange(head, "check", **s3.keys)
    carry(head, worker, **s3.keys)
    s3.stop()
    said = exchange(head, "take", TRAIN, code=2, **s3.keys)
    assert said.startswith("error: the DVC remote 'shared' (s3://runs/neurop): ")
    s3.start()
    assert exchange(head, "take", TRAIN, **s3.keys) == "true"
    assert (head / "runs/0/sums.json").exists()
    toy.set_remote(head, "s3://no-such-bucket/neurop", **s3.options)
    assert "no-such-bucket" in exchange(head, "check", code=2, **s3.keys)
