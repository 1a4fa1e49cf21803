"""Along which scale a learner counts places of an ordered axis and what an intent names there (beyond the paper).

Token a of addmod is used by primes p > a alone, where it stands at angles 2πj a / p. So what is written along tokens
turns fastest at the first of them, and an angle depends on the ratio a / p: both are even on a logarithmic scale,
ln a and ln p, while equal differences crowd the small primes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.params import Scale
from pipeline.templates import Axis

# Of the unit, 10 tokens of addmod: below it places are counted by their difference nearly, since ln 0 is no place.
OFFSET = 0.1
# The primes 11 to 97 are 1.45 apart with it; chosen on val, as the offset.
DIVISOR = 1.5


def scaled(coordinate: Tensor, scale: Scale) -> Tensor:
    """Coordinates in the units of the intent, v, on the scale of the learner: v or 1 + ln(v) / 1.5."""
    return coordinate if scale == "linear" else 1 + coordinate.log() / DIVISOR


def coordinates(axis: Axis, index: Tensor, scale: Scale) -> Tensor:
    """Of places on an ordered axis: (i − origin) / unit, or the logarithm of that and the offset."""
    assert axis.unit is not None
    coordinate = (index - axis.origin) / axis.unit
    return coordinate if scale == "linear" else scaled(coordinate + OFFSET, scale)


def length(axis: Axis, index: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """How far from the start of an axis places are, and how long the axis is: i and size, or ln(1 + i / 10 tokens)."""
    size = torch.tensor(axis.size, dtype=index.dtype)
    if axis.unit is None or scale == "linear":
        return index, size
    start = OFFSET * axis.unit
    return (index / start).log1p(), (size / start).log1p()


def waves(axis: Axis, count: int, scale: Scale) -> Tensor:
    """The `count` slowest cosine waves along an ordered axis, as orthonormal columns [size, count] (float64).

    On the linear scale they are the DCT-II.
    """
    where, whole = length(axis, torch.arange(axis.size, dtype=torch.float64) + 0.5, scale)
    basis = torch.stack([torch.cos(math.pi * j * (where / whole)) for j in range(count)], 1)
    return basis / basis.norm(dim=0) if scale == "linear" else torch.linalg.qr(basis).Q
