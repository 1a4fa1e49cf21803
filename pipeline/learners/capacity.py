"""Capacity matching: scale a learner's widths until its trainable parameters meet a budget (App. C.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.params import DirectTransformer, HiddenSection, LearnerSection, MetaGnn

TOLERANCE = 0.05
# Widths are tried at factor step / STEPS_PER_UNIT, up to 64 times the ones written in the settings.
STEPS_PER_UNIT = 128
LARGEST_FACTOR = 64


def trainable(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def fit(section: LearnerSection, build: Callable[[LearnerSection], nn.Module], name: str) -> LearnerSection:
    """The section with widths scaled so that `build(section)` is within ±5 % of `section.budget`.

    Widths as written are kept if they are within; else the nearest count is taken. Counts are taken
    on the meta device, so nothing is allocated. Raises `UserError` if no width meets the budget.
    """
    if section.budget is None:
        return section
    budget = section.budget

    def parameters(step: int) -> int:
        with torch.device("meta"):
            return trainable(build(scaled(section, step / STEPS_PER_UNIT)))

    best = STEPS_PER_UNIT
    if abs(parameters(best) / budget - 1) > TOLERANCE:
        low, high = 1, LARGEST_FACTOR * STEPS_PER_UNIT  # counts grow with the step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if parameters(middle) < budget else (low, middle)
        best = min((low, high), key=lambda step: abs(parameters(step) - budget))
    reached = parameters(best)
    if abs(reached / budget - 1) > TOLERANCE:
        raise UserError(f"{name}.budget: no width gives {budget} ± 5 % parameters; the nearest gives {reached}")
    return scaled(section, best / STEPS_PER_UNIT)


def scaled(section: LearnerSection, factor: float) -> LearnerSection:
    """The section with its hidden widths multiplied by `factor` (at least 1; whole heads)."""
    if isinstance(section, DirectTransformer):
        per_head = max(1, round(section.d_model * factor / section.n_heads))
        return section.model_copy(update={"d_model": per_head * section.n_heads})
    if isinstance(section, MetaGnn):
        return section.model_copy(update={"width": max(1, round(section.width * factor))})
    if isinstance(section, HiddenSection):
        hidden = tuple(max(1, round(width * factor)) for width in section.hidden)
        return section.model_copy(update={"hidden": hidden})
    return section
