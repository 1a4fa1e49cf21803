"""Whether files that came from elsewhere are what training writes: names, shapes and types of all values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.learners import Learner, count
from pipeline.offsite.archive import Archive
from pipeline.offsite.manifest import Entry, Part
from pipeline.training import checkpoint
from pipeline.training.run import asked, load_run


class _Parameters(Part):
    trainable: int
    frozen: int


class _Selected(Part):
    step: int
    val_accuracy: float
    val_loss: float


class _Found(Part):
    """What training adds to a configuration."""

    parameters: _Parameters
    selected: _Selected
    diverged: bool


def check_run(archive: Archive, entry: Entry, directory: Path, expected: dict[str, Any]) -> None:
    """Check the four files of a run. Raises `UserError` if one is not what training writes with this configuration."""
    try:
        config = read_json(directory / "config.json")
        if asked(config) != expected:
            raise ValueError("config.json is not the configuration of the manifest")
        found = _Found.model_validate({name: config.get(name) for name in _Found.model_fields})
        learner, _ = load_run(directory)
        if found.parameters.model_dump() != count(learner):
            raise ValueError("config.json names other numbers of parameters than the learner has")
        for name in ("weights.safetensors", "last.safetensors"):
            _check_weights(directory / name, learner)
        _check_history(directory / "history.parquet", expected["training"]["steps"])
    except ValidationError as error:
        raise archive.wrong(f"{entry.place}/config.json: {error.errors()[0]['msg']}") from None
    except (UserError, ValueError, TypeError, AttributeError, SafetensorError, pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].replace(f"{directory}/", "")
        raise archive.wrong(f"{entry.place}: {why}") from None


def check_checkpoint(archive: Archive, entry: Entry, path: Path) -> None:
    """Raises `UserError` if a checkpoint cannot be read."""
    try:
        steps(path)
    except (UserError, KeyError, TypeError, ValueError):
        raise archive.wrong(f"{entry.place} is no checkpoint") from None


def steps(path: Path) -> int:
    """How many steps a checkpoint is on. Raises `UserError` if it cannot be read."""
    _, state = checkpoint.load(path)
    return int(state["number"])


def _check_weights(path: Path, learner: Learner) -> None:
    weights, state = load_file(path), learner.state_dict()
    shapes = {name: (value.shape, value.dtype) for name, value in weights.items()}
    if shapes != {name: (value.shape, value.dtype) for name, value in state.items()}:
        raise ValueError(f"{path.name} does not hold this learner's tensors")


def _check_history(path: Path, steps: int) -> None:
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        types = {name: pa.int64() if name == "step" else pa.float64() for name in schema.names}
        if types != dict(zip(schema.names, schema.types, strict=True)) or "step" not in types or rows > steps + 1:
            raise ValueError(f"{path.name} is no history of {steps} steps")
        file.read()
