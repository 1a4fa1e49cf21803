"""How benchmarks measure time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

CPU = torch.device("cpu")


def median(call: Callable[[], None], seconds: float, device: torch.device = CPU) -> float:
    """Median milliseconds of a call and of all that it starts on the device, over at least three, after a warm-up."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    call()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = now()
        call()
        times.append(now() - start)
    return statistics.median(times) * 1e3
