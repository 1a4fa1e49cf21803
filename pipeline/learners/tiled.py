"""Many small MLPs, each with rows of its own, as a few products: for a GPU, where it is calls that take the time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

# Rows of one product: a tile has rows of one MLP alone.
TILE = 128


class Places(nn.Module):
    """n rows, each at a place of its own among m ≥ n.

    Args:
        place: where each row stands [n].
        m: the number of places.
    """

    place: Tensor
    row: Tensor
    filled: Tensor

    def __init__(self, place: Tensor, m: int) -> None:
        super().__init__()
        row = torch.zeros(m, dtype=torch.int64)
        row[place] = torch.arange(len(place))
        filled = torch.zeros(m)
        filled[place] = 1.0
        for name, value in {"place": place, "row": row, "filled": filled}.items():
            self.register_buffer(name, value, persistent=False)

    def spread(self, rows: Tensor) -> Tensor:
        """Rows [n, …] at their places [m, …], zero where there is none."""
        return _moved(rows, self.place, self.row, self.filled, True)

    def collect(self, places: Tensor) -> Tensor:
        """Of places [m, …] the rows [n, …]."""
        return _moved(places, self.place, self.row, self.filled, False)


def _moved(x: Tensor, place: Tensor, row: Tensor, filled: Tensor, spread: bool) -> Tensor:
    moved: Tensor = _Moved.apply(x, place, row, filled, spread)  # type: ignore[no-untyped-call]
    return moved


class _Moved(torch.autograd.Function):
    """Rows to places, or back: each is the other's gradient, without sums, which on a GPU would be of any order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, place: Tensor, row: Tensor, filled: Tensor, spread: bool) -> Tensor:
        if spread:
            return x.index_select(0, row) * filled.to(x.dtype).view(-1, *[1] * (x.dim() - 1))
        return x.index_select(0, place)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *tensors, ctx.spread = inputs  # type: ignore[attr-defined]
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:
        place, row, filled = ctx.saved_tensors
        return _moved(pull, place, row, filled, not ctx.spread), None, None, None, None


class TiledMlps(nn.Module):
    """MLPs with one hidden layer of one width, on rows that lie one group after the other.

    Args:
        networks: the MLPs; they are not kept, but given with each call.
        groups: of each group of rows, the number of its MLP, and how many rows.
    """

    member: Tensor

    def __init__(self, networks: Sequence[nn.Module], groups: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        layers = [_layers(network) for network in networks]
        d_in = max(first.in_features for first, _, _ in layers)
        d_out = max(last.out_features for _, _, last in layers)
        width = layers[0][0].out_features
        self.shapes = [(width, d_in), (width,), (d_out, width), (d_out,)]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.numbers_at = self._numbers_at(layers)
        tiles = [-(-count // TILE) for _, count in groups]
        starts = [TILE * before for before in itertools.accumulate(tiles, initial=0)]
        place = torch.cat([at + torch.arange(n) for at, (_, n) in zip(starts, groups, strict=False)])
        self.rows_at = Places(place, starts[-1])
        number = [which for (which, _), n in zip(groups, tiles, strict=True) for _ in range(n)]
        member = nn.functional.one_hot(torch.tensor(number), len(layers)).float()
        self.register_buffer("member", member, persistent=False)

    def forward(self, networks: Sequence[nn.Module], rows: Tensor) -> Tensor:
        """Rows [T, d_in] give [T, d_out]: of an MLP with fewer inputs or outputs the first of them count."""
        layers = [_layers(network) for network in networks]
        numbers = [p.flatten() for first, _, last in layers for p in (first.weight, first.bias, last.weight, last.bias)]
        alike = self.numbers_at.spread(torch.cat(numbers)).unflatten(0, (len(layers), -1))  # [MLPs, numbers]
        # A product with ones and zeros: its gradient sums over tiles in one order.
        of_tiles = (self.member @ alike).split(self.sizes, 1)
        first, bias, last, shift = (p.unflatten(1, shape) for p, shape in zip(of_tiles, self.shapes, strict=True))
        x = self.rows_at.spread(rows).unflatten(0, (-1, TILE))  # [tiles, TILE, d_in]
        hidden = layers[0][1](torch.baddbmm(bias[:, None], x, first.mT))
        return self.rows_at.collect(torch.baddbmm(shift[:, None], hidden, last.mT).flatten(0, 1))

    def _numbers_at(self, layers: Sequence[Layers]) -> Places:
        """Where the numbers of all MLPs stand when these are made equally large."""
        places = []
        for i, (first, _, last) in enumerate(layers):
            start = i * sum(self.sizes)
            for parameter, shape in zip((first.weight, first.bias, last.weight, last.bias), self.shapes, strict=True):
                at = start + torch.arange(math.prod(shape)).view(shape)
                places.append(at[tuple(slice(size) for size in parameter.shape)].flatten())
                start += at.numel()
        return Places(torch.cat(places), len(layers) * sum(self.sizes))


Layers = tuple[nn.Linear, nn.Module, nn.Linear]
"""The two layers of an MLP, and the activation between them."""


def _layers(network: nn.Module) -> Layers:
    first, act, last = network.children()
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    return first, act, last
