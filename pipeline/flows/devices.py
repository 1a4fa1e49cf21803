"""Device leases: no two training stages share a device, unless a setting allows some number on each."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.errors import UserError


class Devices:
    """Places for training stages.

    Args:
        names: what `CUDA_VISIBLE_DEVICES` is to hold for each device; a name may stand there more than once.
            An empty name is a processor core.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in names:
            self._free.put(name)

    @contextmanager
    def lease(self) -> Iterator[dict[str, str]]:
        """Wait for a free device; gives the environment in which a stage sees that device alone."""
        name = self._free.get()
        try:
            yield {"CUDA_VISIBLE_DEVICES": name} if name else {}
        finally:
            self._free.put(name)


def here(per_device: int = 1, workers: int | None = None) -> Devices:
    """The devices of this machine: its GPUs through the mask that this process has, or else its cores.

    Args:
        per_device: stages that may share one GPU.
        workers: stages at a time where there is no GPU; by default one for each core that this process may use.
    """
    masked = visible()
    if masked and os.environ.get("NEUROP_DEVICE", "auto") != "cpu":
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
