"""Tensors on their way between layers: which axis of each holds the neurons of which node group."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

# The size that marks an axis while an operation is tried on an empty tensor; no real axis is likely to have it.
MARK = 1_000_003


@dataclass(frozen=True)
class Stream:
    """A tensor of this shape; axis `axis` holds before × neurons × after numbers of node group `group`.

    group None: no layer with parameters has written it (an input, a mask, a constant), and its
    features become nodes when a layer reads them; `origin` then names them.
    """

    shape: tuple[int, ...]
    origin: str
    group: str | None = None
    axis: int = -1
    before: int = 1
    after: int = 1

    @property
    def place(self) -> int:
        """The axis counted from 0."""
        return self.axis % len(self.shape)

    @property
    def from_right(self) -> int:
        """The axis counted from the last, which is −1: broadcasting lines axes up so."""
        return self.place - len(self.shape)

    @property
    def size(self) -> int:
        """Neurons on the axis."""
        return self.shape[self.place] // (self.before * self.after)

    @property
    def plain(self) -> bool:
        """Whether the axis holds one number a neuron."""
        return self.before == self.after == 1

    def reshaped(self, shape: tuple[int, ...]) -> Stream | None:
        """The stream after a row-major change of shape; None where its neurons end on several axes."""
        stride = self.after * math.prod(self.shape[self.place + 1 :])
        found = []
        for axis, length in enumerate(shape):
            inner = math.prod(shape[axis + 1 :])
            if inner and stride % inner == 0 and (inner * length) % (stride * self.size) == 0:
                before = inner * length // (stride * self.size)
                found.append(replace(self, shape=shape, axis=axis, before=before, after=stride // inner))
        # A single neuron fits on several axes; what stands before it (the batch) should not be among its numbers.
        return min(found, key=lambda stream: (stream.before, stream.after), default=None)

    def followed(self, operation: Callable[[Tensor], Any], shape: tuple[int, ...]) -> Stream | None:
        """The stream after an operation that moves, drops or shortens other axes; None if it touches the neurons."""
        sizes = list(self.shape)
        sizes[self.place] = MARK
        try:
            moved = tuple(operation(torch.empty(sizes, device="meta")).shape)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            return None
        if moved.count(MARK) != 1 or len(moved) != len(shape):
            return None
        return replace(self, shape=shape, axis=moved.index(MARK))
