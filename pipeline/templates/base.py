"""What a template is: named tensors with axes, and a forward pass over K weight sets at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pipeline.errors import UserError

Theta = dict[str, Tensor]
"""Generated weights: named tensors, each with a leading intent axis [K, …]."""


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor. `unit`: the coordinate of index i is (i − origin) / unit; None: no order."""

    name: str
    size: int
    origin: float = 0.0
    unit: float | None = None


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of θ. Its slots form one group: they share the learner's group-tied parameters.

    `std` is the spread of its usual initialisation, 1 / √fan-in; `mean` is 0 but for scales, which start about 1.
    """

    name: str
    axes: tuple[Axis, ...]
    std: float
    mean: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def n_slots(self) -> int:
        return math.prod(self.shape)


class Template(ABC):
    """A fixed target architecture S* whose weights are generated (§3)."""

    kind: ClassVar[str]
    tensors: tuple[TensorSpec, ...]

    @abstractmethod
    def forward(self, theta: Theta, x: Tensor) -> Tensor:
        """Run K weight sets on K batches: θ of [K, …] and x [K, n, …] give [K, n, m, …]."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The template as a JSON-able value; `templates.from_spec` reads it back."""

    @property
    def n_slots(self) -> int:
        """T, the number of scalars in θ."""
        return sum(tensor.n_slots for tensor in self.tensors)

    def split(self, flat: Tensor) -> Theta:
        """θ as named tensors [K, …] from slots [K, T]."""
        return {
            tensor.name: piece.reshape(*flat.shape[:-1], *tensor.shape)
            for tensor, piece in zip(self.tensors, self.pieces(flat), strict=True)
        }

    def pieces(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Slots […, T] as those of each tensor, views […, T_g]."""
        return flat.split([tensor.n_slots for tensor in self.tensors], -1)

    def flatten(self, theta: Theta) -> Tensor:
        """Slots [K, T] from θ, in the order of `tensors`."""
        return torch.cat([theta[tensor.name].flatten(1) for tensor in self.tensors], 1)  # [K, T]

    def initial(self, generator: torch.Generator) -> Tensor:
        """Slots [T] (float32) of one usual random initialisation: normal with each tensor's mean and std."""
        pieces = [torch.randn(t.n_slots, generator=generator) * t.std + t.mean for t in self.tensors]
        return torch.cat(pieces)

    def check(self, theta: Theta, source: str) -> None:
        """Raise `UserError` if θ (read from `source`) does not have this template's names and shapes."""
        for tensor in self.tensors:
            if tensor.name not in theta:
                raise UserError(f"{source}: tensor {tensor.name} is missing; these are weights of another template")
            shape = tuple(theta[tensor.name].shape[1:])
            if shape != tensor.shape:
                raise UserError(
                    f"{source}: {tensor.name} has shape {list(shape)} but the template needs "
                    f"{list(tensor.shape)}; these are weights of another template"
                )
        extra = sorted(set(theta) - {tensor.name for tensor in self.tensors})
        if extra:
            raise UserError(f"{source}: {extra[0]} is not a tensor of the template; these are other weights")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """K linear maps at once: x [K, n, i], weight [K, i, o], bias [K, o] give [K, n, o]."""
    if bias is None:
        return torch.bmm(x, weight)
    return torch.baddbmm(bias[:, None], x, weight)


def one_hot(tokens: Tensor, size: int) -> Tensor:
    """Rows […, size] (float32) with a one at each token […].

    Not torch's function of this name, which on a CPU reads the tokens first, and writes integers.
    """
    zeros = torch.zeros((), device=tokens.device).expand(*tokens.shape, size)
    return zeros.scatter(-1, tokens[..., None], 1.0)
