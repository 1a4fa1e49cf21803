"""A trained learner on a wider template: more tokens than it was trained with (beyond the paper)."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.learners.base import MetaLearner
from pipeline.params import GroupTied
from pipeline.templates import Transformer


def wider(learner: MetaLearner, tokens: int) -> MetaLearner:
    """The learner with its trained parameters, writing a template with a vocabulary of `tokens`.

    Its θ₀ stays where the template stays; the tensors that grow have none.

    Raises:
        UserError: if its settings tie it to the tokens that it was trained with, or the template has none.
    """
    template, settings = learner.template, learner.settings
    if not isinstance(template, Transformer):
        raise UserError(f"a template of kind {template.kind} has no tokens; only a transformer's vocabulary can grow")
    if not isinstance(settings, GroupTied) or settings.coordinate or getattr(settings, "init_mode", "") == "all":
        raise UserError(
            "the learner is tied to the tokens that it was trained with; train a group-tied one "
            "with coordinate: false and no learned codes (init_mode: per_group)"
        )
    kind: Any = import_module(type(learner).__module__).Learner
    d_u = learner.family.codes(learner.family.all_intents()).shape[1]
    made: MetaLearner = kind(learner.family, Transformer(replace(template.config, d_vocab=tokens)), settings, d_u)
    state = dict(learner.named_parameters()) | {n: b for n, b in learner.named_buffers() if "fixed_" in n}
    try:
        made.load_state_dict(state, strict=False)
    except RuntimeError:
        raise UserError(
            f"{type(learner).__name__} has parameters for every token; only meta_gmlp_mx and meta_gnn write wider ones"
        ) from None
    if hasattr(made, "theta0"):
        old = template.split(learner.get_buffer("theta0")[None])
        new = made.template.split(torch.zeros_like(made.get_buffer("theta0"))[None])
        kept = {name: old[name] if name in made.with_theta0 else value for name, value in new.items()}
        made.get_buffer("theta0").copy_(made.template.flatten(kept)[0])
    return made
