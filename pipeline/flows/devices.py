"""Device leases: no two training stages share a device, unless a setting allows some number on each."""

from __future__ import annotations

import fcntl
import os
import queue
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import UserError

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Lease:
    """A place for a training stage.

    `environment` shows the stage its device alone. `descriptor`, where there is one, keeps the device for as long as
    any process has it open: a stage that inherits it keeps its device even when the flow was killed.
    """

    environment: dict[str, str]
    descriptor: int | None = None


class Devices:
    """Places for training stages.

    Args:
        names: what `CUDA_VISIBLE_DEVICES` is to hold for each device; a name that stands there more than once has as
            many places. An empty name is a processor core.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._free: queue.SimpleQueue[_Place] = queue.SimpleQueue()
        for number, name in enumerate(names):
            self._free.put(_Place(name, names[:number].count(name)))

    def __str__(self) -> str:
        gpus = ", ".join(dict.fromkeys(filter(None, self.names)))
        return f"{len(self.names)} at a time, on {f'GPU {gpus}' if gpus else 'processor cores'}"

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Wait for a device that no other flow or worker of this user on this machine has."""
        place, file = self._take()
        try:
            if file is None:
                yield Lease({})
            else:
                with file:
                    yield Lease({"CUDA_VISIBLE_DEVICES": place.name}, file.fileno())
        finally:
            self._free.put(place)

    def _take(self) -> tuple[_Place, IO[str] | None]:
        while True:
            place = self._free.get()
            if not place.name:
                return place, None
            file = place.lock()
            if file is not None:
                return place, file
            self._free.put(place)
            time.sleep(SECONDS_BETWEEN_LOOKS)


@dataclass(frozen=True)
class _Place:
    """One of the places on a device."""

    name: str
    number: int

    def lock(self) -> IO[str] | None:
        """Its lock file, or None if another process holds it."""
        folder = Path(tempfile.gettempdir()) / f"neurop-devices-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = open(folder / f"{self.name.replace('/', '-')}.{self.number}", "w")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file


def here(per_device: int = 1, workers: int | None = None) -> Devices:
    """The devices of this machine: its GPUs through the mask that this process has, or else its cores.

    Args:
        per_device: stages that may share one GPU.
        workers: stages at a time where there is no GPU; by default one for each core that this process may use.

    Raises `UserError` if `NEUROP_DEVICE` asks for what this machine has not.
    """
    from pipeline.training import machine

    machine.prepare()  # as each stage would
    device = os.environ.get("NEUROP_DEVICE", "auto")
    if ":" in device:
        raise UserError(f"here each stage is given its device; set CUDA_VISIBLE_DEVICES, not NEUROP_DEVICE={device}")
    masked = visible()
    if masked and device != "cpu":
        # Device by device, then once more: two stages share one only when each has one.
        return Devices(masked * per_device)
    return Devices([""] * (workers or len(os.sched_getaffinity(0))))


def visible() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is None:
        return [str(number) for number in range(count)]
    names = [name.strip() for name in mask.split(",") if name.strip()]
    if count > len(names):
        raise UserError(f"CUDA_VISIBLE_DEVICES={mask} names {len(names)} devices but torch sees {count}; set it anew")
    return names[:count]
