"""The precision of a training step's products. Parameters, updates, evaluations and what is written stay float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """For the forward pass: under `bfloat16`, products read and write bfloat16; their gradients follow."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def products(precision: str) -> Iterator[None]:
    """For forward and backward pass: whether CUDA's products round what they read of float32 to TF32 (10 bits).

    Under `bfloat16` they do, too: what autocast leaves in float32 (fused messages) needs no more bits than the rest.
    """
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    _set(backends, [precision != "float32"] * len(backends))
    try:
        yield
    finally:
        _set(backends, before)


def _set(backends: tuple[object, ...], values: list[bool]) -> None:
    for backend, value in zip(backends, values, strict=True):
        backend.allow_tf32 = value  # type: ignore[attr-defined]
