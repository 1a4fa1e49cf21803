"""Tensors without an axis with order, where the intent is to leave them alone."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import UserError
from pipeline.learners import MetaLearner, meta_gnn_for
from pipeline.params import FAMILIES, Params
from pipeline.training.batches import torch_generator
from tests.helpers import codes, make, tiny

META = ["meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn"]
# What counts places, tokens or positions.
ORDERED = {
    "sumfirst": {"W_0"},
    "addmod": {"W_E", "W_U"},
    "arc1d": {"W_E", "W_U", "W_pos"},
}


def settings(family: str, learner: str, slots: str) -> Params:
    return tiny({f"learners.{family}.{learner}.intent_slots": slots})


def made(family: str, learner: str, slots: str) -> MetaLearner:
    learned = make(settings(family, learner, slots), family, learner, 0)
    assert isinstance(learned, MetaLearner)
    return learned


@pytest.mark.parametrize("learner", META)
@pytest.mark.parametrize("family", FAMILIES)
def test_only_ordered_tensors_differ_between_intents(family: str, learner: str) -> None:
    pinned, free = made(family, learner, "ordered"), made(family, learner, "all")
    u = codes(free.family)
    theta, unpinned = pinned.generate(u), free.generate(u)
    of_zero = free.template.split(free.slots_of(torch.zeros(1, u.shape[1])))
    names = {name for name, value in theta.items() if not torch.equal(value, value[:1].expand_as(value))}
    assert names == ORDERED[family]
    for name, value in theta.items():
        expected = unpinned[name] if name in names else of_zero[name].expand_as(value)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_intent_is_written_the_same_alone_and_among_others(family: str) -> None:
    learner = made(family, "meta_gnn", "ordered").double()
    u = codes(learner.family).double()
    alone = torch.cat([learner.slots(one) for one in u.split(1)])
    torch.testing.assert_close(learner.slots(u), alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("learner", META)
def test_the_initial_weights_have_the_spread_that_they_have_otherwise(learner: str) -> None:
    """What is the same for all intents has no spread over them, and must not be blown up to have one."""
    theta = []
    for slots in ("all", "ordered"):
        learned = made("sumfirst", learner, slots)
        u = codes(learned.family)
        learned.calibrate(u, torch_generator(0, 0))
        theta.append({name: value.detach() for name, value in learned.generate(u).items()})
    for name, value in theta[0].items():
        assert float(theta[1][name].abs().max()) <= 10 * float(value.abs().max()), name
    torch.testing.assert_close(theta[1]["W_0"], theta[0]["W_0"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learner", META)
def test_what_is_the_same_for_all_intents_is_trained(learner: str) -> None:
    learned = made("sumfirst", learner, "ordered")
    learned.generate(codes(learned.family))["b_1"].sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in learned.parameters())


def test_a_network_without_ordered_axes_says_so() -> None:
    with pytest.raises(UserError, match="no tensor of the template has an axis with order; set intent_slots: all"):
        meta_gnn_for(torch.nn.Linear(3, 2), torch.zeros(2, 1), torch.zeros(4, 3), intent_slots="ordered")
