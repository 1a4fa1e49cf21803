"""Checkpoints in untracked scratch: safetensors, one file, replaced whole."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import UserError
from pipeline.files import replacing

# The file's name in the scratch directory of what trains together.
FILE = "checkpoint.safetensors"


def save(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and a JSON-able state to one file, whole or not at all."""
    with replacing(path) as temporary:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, {"state": json.dumps(state)})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote. Raises `UserError` if the file is damaged."""
    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError, OSError) as error:
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it to start the run afresh") from None


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a run's scratch directory. Raises `UserError` if another process trains the same run."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process trains this run now (it holds {directory}/lock)") from None
        yield
