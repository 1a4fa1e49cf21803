"""Checkpoints: what was saved comes back to the bit, damage is told in one line, one process at a time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import UserError
from pipeline.training import checkpoint
from tests.helpers import same_bits

TENSORS = {
    "a": torch.linspace(0, 1, 12).view(3, 4).T,
    "b": torch.tensor([math.nan, math.inf, -0.0]),
    "step": torch.tensor(7.0),
    "n": torch.arange(3),
}
STATE = {"step": 3, "history": [{"loss": math.nan, "val": 0.1 + 0.2}], "best_loss": math.inf, "diverged": False}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.safetensors"
    checkpoint.save(path, {"a": torch.zeros(1)}, {})
    checkpoint.save(path, TENSORS, STATE)
    tensors, state = checkpoint.load(path)
    assert same_bits(tensors, {name: value.contiguous() for name, value in TENSORS.items()})
    assert repr(state) == repr(STATE)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, TENSORS, STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"checkpoint .* cannot be read .*; delete it to start the run afresh"):
        checkpoint.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(path)
    save_file({"a": torch.zeros(1)}, path, {"state": "{"})
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path / "absent")


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with checkpoint.locked(directory):
        with (
            pytest.raises(UserError, match=r"another process trains this run now .*lock"),
            checkpoint.locked(directory),
        ):
            pass
        with checkpoint.locked(tmp_path / "other"):
            assert (tmp_path / "other" / "lock").exists()
    with checkpoint.locked(directory):
        assert (directory / "lock").exists()
