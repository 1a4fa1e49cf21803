"""meta_gnn for users' networks: gradients, equivariance, agreement with an implementation edge by edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.peers.sparse_meta_gnn import SparseMetaGnn
from pipeline.errors import UserError
from pipeline.graph.symmetries import incidences, random_automorphism
from pipeline.learners import meta_gnn_for
from pipeline.learners.equivariance import assert_equivariant
from pipeline.learners.meta_gnn import MetaGnn
from tests.graph.modules import CASES

INTENTS = torch.linspace(-1, 1, 8).view(4, 2)
SMALL = {"d_h": 6, "width": 7, "intent_rank": 3, "intent_hidden": [5], "rounds": 2}


def learner(name: str, **changes: object) -> MetaGnn:
    module, example = CASES[name]()
    return meta_gnn_for(module, INTENTS, *example, **(SMALL | changes))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rank", [0, 3])
def test_permuting_the_codes_permutes_theta(name: str, rank: int) -> None:
    gnn = learner(name, intent_rank=rank).double()
    for seed in range(2):
        moves = random_automorphism(gnn.graph, np.random.default_rng(seed))
        assert_equivariant(gnn, INTENTS.double(), moves, 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_uncoupled_permutations_fail(name: str) -> None:
    gnn = learner(name).double()
    moves = random_automorphism(gnn.graph, np.random.default_rng(1))
    for incidence in incidences(gnn.graph):
        if not (np.diff(moves[incidence.group]) == 1).all():
            with pytest.raises(AssertionError, match="not equivariant"):
                assert_equivariant(gnn, INTENTS.double(), moves, 1e-6, leave=incidence)


@pytest.mark.parametrize("name", CASES)
def test_gradients_reach_every_parameter(name: str) -> None:
    module, example = CASES[name]()
    gnn = meta_gnn_for(module, INTENTS, *example, **SMALL)
    x = [torch.stack([t] * len(INTENTS)) for t in example]
    out = gnn.template.forward(gnn.generate(INTENTS), *x)
    out.backward(torch.randn_like(out))
    for parameter, value in gnn.named_parameters():
        assert value.grad is not None and bool(value.grad.abs().sum() > 0), parameter
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("name", CASES)
def test_blocks_agree_with_edges_one_by_one(name: str) -> None:
    gnn = learner(name).double()
    if any(block.channels > 1 for block in gnn.graph.blocks):
        pytest.skip("the edge-by-edge implementation has one number an edge")
    u = INTENTS.double()
    torch.testing.assert_close(SparseMetaGnn(gnn).slots(u), gnn.slots(u), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("theta0", [True, False])
def test_calibration_sets_the_spread_around_the_modules_own_weights(theta0: bool) -> None:
    module, example = CASES["resnet"]()
    gnn = meta_gnn_for(module, INTENTS, *example, theta0=theta0, spread=0.2, **SMALL)
    theta = gnn.generate(INTENTS)
    for tensor in gnn.template.tensors:
        own = module.get_parameter(tensor.name) if theta0 else tensor.mean
        generated = theta[tensor.name].detach() - own
        torch.testing.assert_close(generated.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
        torch.testing.assert_close(generated.std(), torch.tensor(0.2 * tensor.std), atol=1e-4, rtol=1e-3)
    assert {t.mean for t in gnn.template.tensors if "bn" in t.name and "weight" in t.name} == {1.0}


def test_it_runs_the_network_of_each_intent_on_its_batch() -> None:
    module, (x,) = CASES["cnn"]()
    gnn = meta_gnn_for(module, INTENTS, x, **SMALL)
    theta, many = gnn.generate(INTENTS), torch.stack([x] * 4)
    assert {name: tuple(t.shape) for name, t in theta.items()} == {
        name: (4, *p.shape) for name, p in module.named_parameters()
    }
    out = gnn(INTENTS, many)
    alone = torch.func.functional_call(module, {name: t[2] for name, t in theta.items()}, (x,))
    torch.testing.assert_close(out[2], alone)


def test_wrong_settings_and_shapes_are_said_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^meta_gnn_for: width: Input should be greater than 0$"):
        meta_gnn_for(nn.Linear(2, 2), INTENTS, width=0)
    with pytest.raises(UserError, match=r"^meta_gnn_for: depth: Extra"):
        meta_gnn_for(nn.Linear(2, 2), INTENTS, depth=3)
    with pytest.raises(UserError, match=r"intents have shape \[4\]"):
        meta_gnn_for(nn.Linear(2, 2), torch.zeros(4))


def test_a_learner_without_a_family_says_so() -> None:
    gnn = meta_gnn_for(nn.Linear(2, 2), INTENTS, **SMALL)
    with pytest.raises(TypeError, match="no program family"):
        _ = gnn.family
