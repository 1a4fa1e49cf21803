"""The loss of a step: a power mean of its intents' losses, of a learner alone and of each in a pack."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.training.stack import Stack
from tests.helpers import make

K, N = 5, 7


def batch(params: Params) -> tuple[Tensor, Tensor, Tensor]:
    program = make_family(params, "addmod")
    intents = program.intents("train")[:K]
    u = torch.from_numpy(program.codes(intents))
    x = torch.randint(0, 7, (len(intents), N, 2), generator=torch.Generator().manual_seed(1))
    y = torch.stack([torch.from_numpy(program.rule(each, rows.numpy())) for each, rows in zip(intents, x, strict=True)])
    return u, x, y


def test_the_power_mean_of_the_intents_losses(params: Params) -> None:
    u, x, y = batch(params)
    learner = make(params, "addmod", "meta_mlp", 0)
    each = [learner.family.loss(learner(u[[k]], x[[k]], y[[k]]), y[[k]]).mean().item() for k in range(len(u))]
    assert max(each) - min(each) > 1e-3
    for power in (1.0, 1.5, 2.0, 4.0):
        expected = (sum(loss**power for loss in each) / len(each)) ** (1 / power)
        assert Stack([learner]).losses(u[None], x[None], y[None], power).tolist() == pytest.approx([expected], rel=1e-5)


def test_an_intent_weighs_as_much_as_its_loss(params: Params) -> None:
    """At power 2 the gradient is Σ L_k ∇L_k / (K · root mean square)."""
    u, x, y = batch(params)
    learner = make(params, "addmod", "meta_mlp", 0)
    parameters = list(learner.parameters())
    losses = learner.family.loss(learner(u, x, y), y).mean(1)
    each = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    root = losses.detach().square().mean().sqrt()
    weights = losses.detach() / (len(losses) * root)
    whole = torch.autograd.grad(Stack([learner]).losses(u[None], x[None], y[None], 2.0)[0], parameters)
    for i, gradient in enumerate(whole):
        expected = sum(w * g[i] for w, g in zip(weights, each, strict=True))
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_each_of_a_pack_has_its_own(params: Params) -> None:
    u, x, y = batch(params)
    alone = [Stack([make(params, "addmod", "meta_mlp", seed)]) for seed in (0, 1)]
    expected = torch.cat([stack.losses(u[None], x[None], y[None], 2.0) for stack in alone])
    pack = Stack([make(params, "addmod", "meta_mlp", seed) for seed in (0, 1)])
    losses = pack.losses(*(part.expand(2, *part.shape) for part in (u, x, y)), 2.0)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)


def test_where_nothing_is_left_to_learn_the_gradient_is_zero(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    u, x, y = batch(params)
    learner = make(params, "addmod", "meta_mlp", 0)
    loss = type(learner.family).loss
    monkeypatch.setattr(type(learner.family), "loss", lambda self, out, y: loss(self, out, y) * 0)
    Stack([learner]).losses(u[None], x[None], y[None], 2.0).sum().backward()
    assert all((p.grad == 0).all() for p in learner.parameters() if p.grad is not None)
