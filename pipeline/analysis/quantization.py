"""Weights rounded to fewer bits, and how far that moves them.

bfloat16 keeps 8 significant bits of every weight; int8 keeps one step per tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.templates import Theta

LEVELS = 127


def to_bfloat16(theta: Theta) -> Theta:
    """θ with 8 significant bits, as float32."""
    return {name: value.bfloat16().float() for name, value in theta.items()}


def to_bits(theta: Theta, bits: int) -> Theta:
    """θ with this many significant bits, whatever the exponent; float32 has 24."""
    return {name: _to_bits(value, bits) for name, value in theta.items()}


def _to_bits(value: Tensor, bits: int) -> Tensor:
    mantissa, exponent = value.double().frexp()
    return ((mantissa * 2**bits).round() / 2**bits).ldexp(exponent).float()


def to_int8(theta: Theta) -> Theta:
    """θ [K, …] in whole multiples, −127 to 127, of one step per tensor and intent (symmetric), as float32."""
    return {name: _to_int8(value) for name, value in theta.items()}


def _to_int8(value: Tensor) -> Tensor:
    step = value.abs().flatten(1).amax(1).view(-1, *[1] * (value.dim() - 1)) / LEVELS
    return torch.where(step > 0, (value / step).round() * step, value)


FORMATS: dict[str, Callable[[Theta], Theta]] = {"bfloat16": to_bfloat16, "int8": to_int8}


def distance(theta: Theta, other: Theta) -> float:
    """‖θ − θ'‖_par of the first intents: the sum of the tensors' Frobenius norms (App. A.5)."""
    return sum(float((theta[name][0].double() - other[name][0].double()).norm()) for name in theta)
