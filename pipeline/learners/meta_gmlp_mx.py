"""meta_gmlp_mx: group-tied MLPs over slots, without the mixer (App. D.2)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.learners.base import Head, MetaLearner
from pipeline.learners.layers import SlotMlp, codes_of
from pipeline.params import MetaGmlpMx as Settings
from pipeline.programs import Family
from pipeline.templates import Template


class MetaGmlpMx(MetaLearner):
    """θ_t = f([U ‖ p_t]; φ_g(t)): each tensor of the template has one MLP for all its slots."""

    theta0: Tensor

    def __init__(self, family: Family, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template, settings)
        self.groups = nn.ModuleList(
            SlotMlp(d_u, *codes_of(family, tensor.axes, settings), [*settings.hidden, 1], settings.activation)
            for tensor in template.tensors
        )
        if settings.theta0:
            self.register_buffer("theta0", torch.zeros(template.n_slots))

    def slots_of(self, u: Tensor) -> Tensor:
        decoded = torch.cat([group(u)[..., 0] for group in self.groups], 1)  # [K, T]
        return decoded + self.theta0 if hasattr(self, "theta0") else decoded

    def heads(self) -> Iterator[Head]:
        return (Head(group.last, slice(None)) for group in self.groups if isinstance(group, SlotMlp))


Learner = MetaGmlpMx
