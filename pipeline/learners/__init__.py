"""Meta-learners and direct baselines, one file each, found by name; capacity matching."""

from __future__ import annotations

from importlib import import_module

import torch

from pipeline.learners.base import Learner, MetaLearner
from pipeline.learners.capacity import fit, trainable
from pipeline.learners.own_network import meta_gnn_for
from pipeline.params import LearnerSection
from pipeline.programs import Family
from pipeline.templates import Template


def make_learner(name: str, family: Family, template: Template, section: LearnerSection) -> Learner:
    """The learner `name`, its widths scaled to `section.budget`; random parameters come from torch's generator."""
    kind = import_module(f"pipeline.learners.{name}").Learner
    d_u = family.codes(family.all_intents()).shape[1]

    def build(scaled: LearnerSection) -> Learner:
        learner: Learner = kind(family, template, scaled, d_u)
        return learner

    return build(fit(section, build, f"learners.{family.name}.{name}"))


def count(learner: torch.nn.Module) -> dict[str, int]:
    """Trainable parameters and frozen buffers, counted apart."""
    return {
        "trainable": trainable(learner),
        "frozen": sum(buffer.numel() for buffer in learner.buffers()),
    }


__all__ = ["Learner", "MetaLearner", "count", "make_learner", "meta_gnn_for"]
