"""Relational codes: how a slot's place on an axis relates to the intent (beyond the paper; off in its profile)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.params import GroupTied, MetaSection
from pipeline.programs import Family
from pipeline.templates import Axis, Template

DIFFERENCE, RATIO, EQUALITY = "difference", "ratio", "equality"


class Relation:
    """Codes r_t(U) of slots on these axes, one of which the intent points into.

    With i the index on that axis and v(U) the index that the intent names there (`Family.relation`):
    difference (i − v) / unit and cos, sin 2πj (i − v) / size; ratio i / (i + v), which is bounded and ½ where
    i = v, and cos, sin 2πj i / v; equality 1 if i = v, else 0; for j = 1 … `fourier_relation`. Zero for intents
    that name no index.

    Args:
        axes: of the slots; exactly one of them is `related`.
    """

    def __init__(self, family: Family, axes: tuple[Axis, ...], related: Axis, settings: GroupTied) -> None:
        self.family, self.axis, self.settings = family, related, settings
        self.shape = tuple(axis.size for axis in axes)
        self.place = axes.index(related)
        pairs = 2 * settings.fourier_relation
        self.width = sum({DIFFERENCE: 1 + pairs, RATIO: 1 + pairs, EQUALITY: 1}[kind] for kind in settings.relations)

    def code(self, u: Tensor) -> Tensor:
        """Codes [K, size, r] along the related axis from intent codes u [K, d_u]."""
        axis, pairs = self.axis, self.settings.fourier_relation
        value = self.family.relation(axis.name, u)
        assert value is not None
        index = torch.arange(axis.size, device=u.device, dtype=u.dtype)
        difference, ratio = index - value[:, None], index / value[:, None]  # [K, size]
        columns = []
        for kind in self.settings.relations:
            if kind == DIFFERENCE:
                columns += [difference / (axis.unit or 1.0), *_waves(difference / axis.size, pairs)]
            elif kind == RATIO:
                columns += [ratio / (1 + ratio), *_waves(ratio, pairs)]
            else:
                columns.append((difference == 0).to(u.dtype))
        return torch.stack(columns, -1).nan_to_num(0.0, 0.0, 0.0)  # [K, size, r]

    @property
    def others(self) -> tuple[int, ...]:
        """The shape of the slots with one place on the related axis: [*others] broadcasts to all of them."""
        return tuple(1 if i == self.place else size for i, size in enumerate(self.shape))

    def over_slots(self, values: Tensor) -> Tensor:
        """Values [K, size, h] along the related axis as values of all slots [K, T_g, h]."""
        view = [1] * len(self.shape)
        view[self.place] = self.shape[self.place]
        k, h = values.shape[0], values.shape[-1]
        return values.view(k, *view, h).expand(k, *self.shape, h).flatten(1, -2)  # [K, T_g, h]


def related_axis(family: Family | None, axes: tuple[Axis, ...]) -> Axis | None:
    """The axis that intents of the family point into, if there is one."""
    if family is None:
        return None
    return next((axis for axis in axes if axis.name in family.related_axes), None)


def relation(family: Family | None, axes: tuple[Axis, ...], settings: GroupTied) -> Relation | None:
    """The relational code of slots on these axes, or None where settings or family have none."""
    related = related_axis(family, axes)
    if family is None or related is None or not settings.relations:
        return None
    return Relation(family, axes, related, settings)


def known_by_relation(family: Family | None, axes: tuple[Axis, ...], settings: GroupTied) -> Axis | None:
    """The axis that has no code of its own: without `coordinate`, a related axis has its relation only."""
    return None if settings.coordinate else related_axis(family, axes)


def with_theta0(family: Family | None, template: Template, settings: MetaSection) -> set[str]:
    """The tensors that get a θ₀: none without the setting, nor one with an axis that is known by its relation only."""
    if not isinstance(settings, GroupTied) or not settings.theta0:
        return set()
    return {t.name for t in template.tensors if known_by_relation(family, t.axes, settings) is None}


def _waves(turns: Tensor, pairs: int) -> list[Tensor]:
    return [wave(2 * math.pi * j * turns) for j in range(1, pairs + 1) for wave in (torch.cos, torch.sin)]
