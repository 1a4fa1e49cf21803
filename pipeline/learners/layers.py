"""The layers that learners are made of: MLPs, slot codes, group-tied MLPs over slots."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.learners.relations import Relation, known_by_relation, relation
from pipeline.learners.scale import coordinates, length, waves
from pipeline.params import GroupTied, MetaSection, Scale
from pipeline.programs import Family
from pipeline.templates import Axis, Template

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


def axis_code(axis: Axis, fourier: int, fourier_ordered: int, scale: Scale = "linear") -> Tensor:
    """Positional code [size, d] of one axis of a tensor.

    An ordered axis has its coordinate in the units of the intent, (i − origin) / unit, and
    `fourier_ordered` pairs; any other axis has `fourier` pairs cos, sin(2π j i / size), j = 1, 2, ….
    On the scale `log` an ordered axis has both along its logarithm.
    """
    index = torch.arange(axis.size, dtype=torch.float64)
    columns = [] if axis.unit is None else [coordinates(axis, index, scale)]
    pairs = min(fourier if axis.unit is None else fourier_ordered, axis.size // 2)
    where, whole = length(axis, index, scale)
    for j in range(1, pairs + 1):
        angle = 2 * math.pi * j * where / whole
        columns += [angle.cos(), angle.sin()]
    return torch.stack(columns, 1).float() if columns else torch.zeros(axis.size, 0)


def slot_codes(
    axes: tuple[Axis, ...], fourier: int, fourier_ordered: int, without: Axis | None = None, scale: Scale = "linear"
) -> Tensor:
    """Positional codes p_t [T_g, d_p] of slots on these axes: the codes of the axes, side by side, but for one."""
    shape = tuple(axis.size for axis in axes)
    columns = []
    for i, axis in enumerate(axes):
        code = torch.zeros(axis.size, 0) if axis == without else axis_code(axis, fourier, fourier_ordered, scale)
        view = [1] * len(shape) + [code.shape[1]]
        view[i] = shape[i]
        columns.append(code.view(view).expand(*shape, -1))
    return torch.cat(columns, -1).flatten(0, -2)  # [T_g, d_p]


def codes_of(family: Family | None, axes: tuple[Axis, ...], settings: GroupTied) -> tuple[Tensor, Relation | None]:
    """What the settings let a learner know of the slots on these axes: positional codes, and the relational code."""
    without = known_by_relation(family, axes, settings)
    codes = slot_codes(axes, settings.fourier, settings.fourier_ordered, without, settings.scale)
    return codes, relation(family, axes, settings)


class BandLimit(nn.Module):
    """Of numbers at slots, the slowest cosine waves along each ordered axis, on the settings' scale.

    Args:
        axes: of the slots.
        settings: `bandwidth` says how many waves, the constant among them; None: all.
        louder: scaled so that white noise keeps its spread; if not, a constant keeps its value.
    """

    def __init__(self, axes: tuple[Axis, ...], settings: MetaSection, louder: bool) -> None:
        super().__init__()
        self.shape = [axis.size for axis in axes]
        count = settings.bandwidth
        self.places = [
            i for i, axis in enumerate(axes) if axis.unit is not None and count is not None and count < axis.size
        ]
        for i in self.places:
            passed = low_pass(waves(axes[i], count or 0, settings.scale), settings.scale, louder)
            self.register_buffer(f"pass_{i}", passed, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """[T_g, …] gives [T_g, …]."""
        for i in self.places:
            passed = self.get_buffer(f"pass_{i}")
            # Not in bfloat16, if a layer before wrote that: sums over all of an axis are to stay smooth.
            by_axis = values.to(passed.dtype).unflatten(0, self.shape).movedim(i, 0)
            values = torch.tensordot(passed, by_axis, 1).movedim(0, i).flatten(0, len(self.shape) - 1)
        return values


def low_pass(basis: Tensor, scale: Scale, louder: bool) -> Tensor:
    """The projection [size, size] on orthonormal columns [size, waves].

    louder: white noise keeps its spread, on the linear scale in the mean of all places, else at each: there the waves
    crowd at one end.
    """
    size, count = basis.shape
    if scale == "linear":
        return (basis @ basis.T * ((size / count) ** 0.5 if louder else 1)).float()
    projection = basis @ basis.T
    return (projection / projection.diagonal().sqrt()[:, None] if louder else projection).float()


class SlotRows(nn.Linear):
    """A last layer [K, d_in] → [K, T] with a row for every slot; θ is within the settings' bandwidth.

    Rows share nothing, so without a limit what is written along an axis starts as white noise.
    """

    def __init__(self, d_in: int, template: Template, settings: MetaSection) -> None:
        super().__init__(d_in, template.n_slots)
        self.sizes = [tensor.n_slots for tensor in template.tensors]
        self.limits = nn.ModuleList(BandLimit(tensor.axes, settings, False) for tensor in template.tensors)
        self.limited = any(limit.places for limit in self.limits)

    def forward(self, input: Tensor) -> Tensor:
        theta = super().forward(input)
        if not self.limited:
            return theta
        pieces = theta.T.split(self.sizes)
        return torch.cat([limit(piece) for limit, piece in zip(self.limits, pieces, strict=True)]).T  # [K, T]


def mlp_to_slots(sizes: list[int], template: Template, settings: MetaSection) -> nn.Sequential:
    """An MLP of these widths with one more layer, which writes all slots."""
    layers = mlp(sizes, settings.activation).append(ACTIVATIONS[settings.activation]())
    return layers.append(SlotRows(sizes[-1], template, settings))


class SlotMlp(nn.Module):
    """A group-tied MLP f([U ‖ p_t ‖ r_t(U)]; φ_g) for all slots t of one group g (§4.3, Meta-gMLP).

    The first layer acts on intent, code and relational code apart and adds: the same map as on their
    concatenation, without repeating any for each pair of intent and slot.

    Args:
        d_u: intent code width.
        codes: positional codes [T_g, d_p], a frozen buffer.
        related: the relational code, if there is one.
        sizes: hidden widths, then the output width.
    """

    codes: Tensor

    def __init__(self, d_u: int, codes: Tensor, related: Relation | None, sizes: list[int], activation: str) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.related = related
        self.first = nn.Linear(d_u + codes.shape[1] + (related.width if related else 0), sizes[0])
        self.rest = nn.Sequential(ACTIVATIONS[activation](), *mlp(sizes, activation))

    def forward(self, u: Tensor) -> Tensor:
        """Intent codes u [K, d_u] give [K, T_g, sizes[-1]]."""
        out: Tensor = self.rest(apart(self.first, u, self.codes, self.related))
        return out

    @property
    def last(self) -> nn.Linear:
        """The last linear layer."""
        layer = self.rest[-1]
        assert isinstance(layer, nn.Linear)
        return layer


def apart(layer: nn.Linear, u: Tensor, code: Tensor, related: Relation | None) -> Tensor:
    """layer([U ‖ p_t ‖ r_t(U)]) [K, T, h] of u [K, d_u], code [T, d_p] and the relation, each apart, then added."""
    d_u, d_p = u.shape[1], code.shape[1]
    total: Tensor = (code @ layer.weight[:, d_u : d_u + d_p].T + layer.bias)[None]  # [1, T, h]
    if d_u:
        total = total + (u @ layer.weight[:, :d_u].T)[:, None]  # [K, T, h]
    if related is not None:
        total = total + related.over_slots(related.code(u) @ layer.weight[:, -related.width :].T)
    return total
