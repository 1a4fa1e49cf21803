"""The machine that a run uses: device, threads, determinism. None of it is a tracked parameter.

Environment: `NEUROP_DEVICE` (auto, cpu, cuda, cuda:1, …), `NEUROP_THREADS` (CPU threads), `NEUROP_GRAPHS` (off
launches the kernels of a training step one by one, on CUDA, too).
"""

from __future__ import annotations

import os
import platform
import re
import resource
from typing import Any

import torch

from pipeline.errors import UserError

# One thread: bits depend on the number of threads, and two runs side by side use two cores better
# than one run of small matrices does.
DEFAULT_THREADS = 1


def prepare() -> torch.device:
    """Choose the device, set the threads, and demand deterministic algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The switch of use_deterministic_algorithms, which also imports torch's compiler: a second of each evaluation.
    torch.set_deterministic_debug_mode("error")
    # A net for code that reads what nobody wrote: on a GPU a kernel for each new tensor, on a CPU 1 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(_threads())
    name = os.environ.get("NEUROP_DEVICE", "auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise UserError(f"NEUROP_DEVICE is '{name}'; give auto, cpu, cuda or cuda:<index>")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"NEUROP_DEVICE is '{name}', but this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def _threads() -> int:
    text, most = os.environ.get("NEUROP_THREADS", str(DEFAULT_THREADS)), os.cpu_count() or 1
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= most):
        raise UserError(f"NEUROP_THREADS is '{text}'; give a whole number of CPU threads, 1 to {most}")
    return int(text)


def captures(device: torch.device) -> bool:
    """Whether a training step is replayed as one CUDA graph."""
    value = os.environ.get("NEUROP_GRAPHS", "on")
    if value not in ("on", "off"):
        raise UserError(f"NEUROP_GRAPHS is '{value}'; give on or off")
    return device.type == "cuda" and value == "on"


def bits(device: torch.device) -> list[str | int]:
    """What of the machine can change a run's bits: library, kind of device, threads."""
    return [torch.__version__, device.type, torch.get_num_threads()]


def facts(device: torch.device) -> dict[str, Any]:
    """What the run ran on, for logs and MLflow: device, versions, threads, peak memory in MiB."""
    cuda = device.type == "cuda"
    peak = (
        torch.cuda.max_memory_allocated(device) if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "peak_memory_mib": round(peak / 2**20),
    }
