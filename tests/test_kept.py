"""Kept weights: of the seed that val selects, while they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import kept
from pipeline.evaluation.evaluate import configuration_digest
from pipeline.files import read_json, write_json


def run(tmp: Path, seed: int, accuracy: float, loss: float = 1.0) -> tuple[dict[str, Any], Path]:
    """A recorded run and its outputs."""
    folder = tmp / "runs" / str(seed)
    config = {"seed": seed, "selected": {"val_accuracy": accuracy, "val_loss": loss}}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    (folder / "weights.safetensors").write_bytes(bytes([seed]) * 100)
    return {**config, "configuration": configuration_digest(config)}, folder


def kept_seed(tmp: Path) -> int:
    return read_json(tmp / kept.WEIGHTS / "f/l/config.json")["seed"]


def test_a_better_seed_takes_the_place(tmp_path: Path) -> None:
    (first, at_first), (second, at_second) = run(tmp_path, 1, 0.5), run(tmp_path, 2, 0.5, loss=0.9)
    assert kept.keep(tmp_path, "f/l", [first], {1: at_first})
    assert kept_seed(tmp_path) == 1
    assert kept.keep(tmp_path, "f/l", [first, second], {2: at_second})
    assert kept_seed(tmp_path) == 2
    # A worse seed recorded later changes nothing, though the best one's outputs are elsewhere by then.
    third, at_third = run(tmp_path, 3, 0.4)
    assert kept.keep(tmp_path, "f/l", [first, second, third], {3: at_third})
    assert kept_seed(tmp_path) == 2


def test_weights_that_are_no_longer_the_best_go(tmp_path: Path) -> None:
    (first, at_first), (second, _) = run(tmp_path, 1, 0.5), run(tmp_path, 2, 0.6)
    assert kept.keep(tmp_path, "f/l", [first], {1: at_first})
    assert not kept.keep(tmp_path, "f/l", [first, second], {1: at_first})
    assert not (tmp_path / kept.WEIGHTS / "f/l").exists()


def test_weights_that_do_not_fit_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, place = run(tmp_path, 1, 0.5)
    monkeypatch.setattr(kept, "MOST_BYTES", 450)
    assert kept.keep(tmp_path, "f/l", [one], {1: place})
    assert kept.keep(tmp_path, "f/l", [one], {1: place})  # itself replaced, not counted twice
    assert kept.keep(tmp_path, "f/m", [one], {1: place})
    assert not kept.keep(tmp_path, "f/n", [one], {1: place})
    assert not (tmp_path / kept.WEIGHTS / "f/n").exists()
