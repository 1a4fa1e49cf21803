"""DVC's list of what its processes read and write: in memory, removed where it is half written, else left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.flows import repair as module
from pipeline.flows.repair import forget, keep_in_memory, repair
from tests.cluster import toy


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the machine's memory."""
    place = tmp_path / "memory"
    place.mkdir()
    monkeypatch.setattr(module, "MEMORY", (tmp_path / "none", place))
    monkeypatch.setattr(Path, "is_mount", lambda path: path == place)
    return place


def rwlock(root: Path) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("text", ["", '{"read": {', "[1]"])
def test_a_half_written_list_is_removed(tmp_path: Path, text: str) -> None:
    rwlock(tmp_path).write_text(text)
    assert repair(tmp_path)
    assert not repair(tmp_path)
    assert not rwlock(tmp_path).exists()


def test_dvc_works_with_its_list_in_memory_also_when_that_is_emptied(tmp_path: Path, memory: Path) -> None:
    root = toy.make(tmp_path / "toy", [0])
    keep_in_memory(root)
    toy.dvc(root, "repro", "-q")
    assert {path.suffix for path in memory.iterdir()} == {".rwlock", ".lock"}
    assert json.loads(rwlock(root).read_text()) == {}
    for path in memory.iterdir():  # the machine is started again
        path.unlink()
    assert "up to date" in toy.dvc(root, "repro")
    rwlock(root).write_text('{"read": {')
    assert repair(root)
    assert "up to date" in toy.dvc(root, "repro")
    assert rwlock(root).is_symlink()
    forget(root)
    assert not list(memory.iterdir())


def test_a_copy_of_a_workspace_shares_the_list_and_its_guard(tmp_path: Path, memory: Path) -> None:
    (tmp_path / "one" / ".dvc").mkdir(parents=True)
    keep_in_memory(tmp_path / "one")
    keep_in_memory(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    keep_in_memory(tmp_path / "two")
    names = ("rwlock", "rwlock.lock")
    one, two = ([rwlock(tmp_path / place).with_name(name).readlink() for name in names] for place in ("one", "two"))
    assert one == two
    assert len(set(one)) == 2


def test_a_list_in_use_stays_where_it_is(tmp_path: Path, memory: Path) -> None:
    text = json.dumps({"write": {"/a": {"pid": 1, "cmd": "dvc repro"}}})
    rwlock(tmp_path).write_text(text)
    keep_in_memory(tmp_path)
    assert not rwlock(tmp_path).is_symlink()
    assert rwlock(tmp_path).read_text() == text


def test_nothing_is_made_where_there_is_no_project_or_no_memory(tmp_path: Path, memory: Path) -> None:
    keep_in_memory(tmp_path)
    assert not (tmp_path / ".dvc").exists()
    memory.rmdir()
    (tmp_path / ".dvc").mkdir()
    keep_in_memory(tmp_path)
    assert not rwlock(tmp_path).is_symlink()
