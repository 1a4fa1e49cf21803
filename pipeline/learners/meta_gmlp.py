"""meta_gmlp: group-tied MLPs over slots, then a global low-rank mixer (§4.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pipeline.learners.base import Head, MetaLearner, rows_by_tensor
from pipeline.learners.layers import SlotMlp, codes_of, mlp_to_slots
from pipeline.params import MetaGmlp as Settings
from pipeline.programs import Family
from pipeline.templates import Template


class MetaGmlp(MetaLearner):
    """h_t = f([U ‖ p_t]; φ_g(t)), then θ = f([h_t]_t; φ_mixer) with one hidden layer of width `mixer`."""

    theta0: Tensor

    def __init__(self, family: Family, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template, settings)
        self.groups = nn.ModuleList(
            SlotMlp(
                d_u,
                *codes_of(family, tensor.axes, settings),
                [*settings.hidden, settings.slot_width],
                settings.activation,
            )
            for tensor in template.tensors
        )
        total = template.n_slots
        self.mixer = mlp_to_slots([total * settings.slot_width, settings.mixer], template, settings)
        if settings.theta0:
            self.register_buffer("theta0", torch.zeros(total))

    def slots_of(self, u: Tensor) -> Tensor:
        embedded = torch.cat([group(u) for group in self.groups], 1)  # [K, T, slot_width]
        mixed: Tensor = self.mixer(embedded.flatten(1))  # [K, T]
        return mixed + self.theta0 if hasattr(self, "theta0") else mixed

    def heads(self) -> Iterator[Head]:
        last = self.mixer[-1]
        assert isinstance(last, nn.Linear)
        return rows_by_tensor(last, self.template)


Learner = MetaGmlp
