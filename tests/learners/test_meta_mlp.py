"""meta_mlp against hypnettorch: the same generated weights, outputs and gradients from the same parameters."""

from __future__ import annotations

import pytest
import torch

from benchmarks.peers.looped_meta_mlp import LoopedMetaMlp
from pipeline.learners.meta_mlp import MetaMlp
from pipeline.params import Params
from pipeline.templates import Mlp
from tests.helpers import make


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_hypnettorchs(params: Params, k: int) -> None:
    learner = make(params, "sumfirst", "meta_mlp").double()
    assert isinstance(learner, MetaMlp) and isinstance(learner.template, Mlp)
    looped = LoopedMetaMlp(learner)
    looped.hypernetwork.double()
    u, x = torch.randn(k, 1, dtype=torch.float64), torch.randn(k, 5, learner.template.sizes[0], dtype=torch.float64)
    theta, weights = learner.generate(u), looped.generate(u)
    for i, one in enumerate(weights):
        for mine, theirs in zip(theta.values(), one, strict=True):
            torch.testing.assert_close(theirs.T if theirs.ndim > 1 else theirs, mine[i])
    ours, other = learner.template.forward(theta, x), looped.run(weights, x)
    torch.testing.assert_close(other, ours)
    hidden = torch.autograd.grad(ours.square().sum(), learner.network[0].weight)
    torch.testing.assert_close(torch.autograd.grad(other.square().sum(), looped.parameters()[0]), hidden)
