"""The layers that learners are made of: MLPs, slot codes, group-tied MLPs over slots."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.templates import Axis

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def mlp(sizes: list[int], activation: str) -> nn.Sequential:
    """Linear layers of these widths with activations between them, none at the end."""
    layers: list[nn.Module] = []
    for source, target in pairwise(sizes):
        layers += [nn.Linear(source, target), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def axis_code(axis: Axis, fourier: int, fourier_ordered: int) -> Tensor:
    """Positional code [size, d] of one axis of a tensor.

    An ordered axis has its coordinate in the units of the intent, (i − origin) / unit, and
    `fourier_ordered` pairs; any other axis has `fourier` pairs cos, sin(2π j i / size), j = 1, 2, ….
    """
    index = torch.arange(axis.size, dtype=torch.float64)
    columns = [] if axis.unit is None else [(index - axis.origin) / axis.unit]
    pairs = min(fourier if axis.unit is None else fourier_ordered, axis.size // 2)
    for j in range(1, pairs + 1):
        angle = 2 * math.pi * j * index / axis.size
        columns += [angle.cos(), angle.sin()]
    return torch.stack(columns, 1).float() if columns else torch.zeros(axis.size, 0)


def slot_codes(axes: tuple[Axis, ...], fourier: int, fourier_ordered: int) -> Tensor:
    """Positional codes p_t [T_g, d_p] of slots on these axes: the codes of the axes, side by side."""
    shape = tuple(axis.size for axis in axes)
    columns = []
    for i, axis in enumerate(axes):
        code = axis_code(axis, fourier, fourier_ordered)
        view = [1] * len(shape) + [code.shape[1]]
        view[i] = shape[i]
        columns.append(code.view(view).expand(*shape, -1))
    return torch.cat(columns, -1).flatten(0, -2)  # [T_g, d_p]


class SlotMlp(nn.Module):
    """A group-tied MLP f([U ‖ p_t]; φ_g) for all slots t of one group g (§4.3, Meta-gMLP).

    The first layer acts on intent and code apart and adds: the same map as on their concatenation,
    without repeating either for each pair of intent and slot.

    Args:
        d_u: intent code width.
        codes: positional codes [T_g, d_p], a frozen buffer.
        sizes: hidden widths, then the output width.
    """

    codes: Tensor

    def __init__(self, d_u: int, codes: Tensor, sizes: list[int], activation: str) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.first = nn.Linear(d_u + codes.shape[1], sizes[0])
        self.d_u = d_u
        self.rest = nn.Sequential(ACTIVATIONS[activation](), *mlp(sizes, activation))

    def forward(self, u: Tensor) -> Tensor:
        """Intent codes u [K, d_u] give [K, T_g, sizes[-1]]."""
        from_u = u @ self.first.weight[:, : self.d_u].T  # [K, h]
        from_code = self.codes @ self.first.weight[:, self.d_u :].T + self.first.bias  # [T_g, h]
        out: Tensor = self.rest(from_u[:, None] + from_code)
        return out

    @property
    def last(self) -> nn.Linear:
        """The last linear layer."""
        layer = self.rest[-1]
        assert isinstance(layer, nn.Linear)
        return layer
