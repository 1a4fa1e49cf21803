"""The state of θ during training: spread and effective rank of each tensor (flat or dying θ shows here first)."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.learners import Learner, MetaLearner


@torch.no_grad()
def theta_state(learner: Learner, u: Tensor) -> dict[str, float]:
    """`std.<tensor>` and, for matrices, `rank.<tensor>`, means over intents u [K, d_u]; {} without a finite θ."""
    if not isinstance(learner, MetaLearner):
        return {}
    theta, state = learner.generate(u), {}
    if not all(value.isfinite().all() for value in theta.values()):
        return {}
    for name, value in theta.items():
        flat = value.flatten(1).double()
        state[f"std.{name}"] = float(flat.std(1, correction=0).mean())
        if value.ndim > 2:
            state[f"rank.{name}"] = float(effective_rank(value.double()).mean())
    return state


def effective_rank(matrices: Tensor) -> Tensor:
    """exp of the entropy of the normalised squared singular values [...] of matrices [..., m, n]."""
    energy = torch.linalg.svdvals(matrices).square()
    share = energy / energy.sum(-1, keepdim=True).clamp_min(1e-300)
    return torch.special.entr(share).sum(-1).exp()
