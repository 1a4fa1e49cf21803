"""Relational codes: their formulas, where they enter, and what they allow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.graph.symmetries import random_automorphism
from pipeline.learners.base import MetaLearner
from pipeline.learners.equivariance import assert_equivariant
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.learners.relations import Relation
from pipeline.learners.wider import wider
from pipeline.params import FAMILIES, GroupTied
from pipeline.programs import make_family
from pipeline.templates import Axis, Transformer
from tests.helpers import codes, make, tiny

TIED = ("meta_gmlp", "meta_gmlp_mx", "meta_gnn")
ALL = {"relations": ["difference", "ratio", "equality"], "fourier_relation": 2}


def settings(family: str, learner: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Changes to a learner's section; relations are to the prime itself, not to its logarithm."""
    return {f"learners.{family}.{learner}.{key}": value for key, value in {"scale": "linear", **changes}.items()}


def section(changes: dict[str, Any]) -> GroupTied:
    made = tiny(settings("addmod", "meta_gmlp_mx", changes)).learner("addmod", "meta_gmlp_mx")
    assert isinstance(made, GroupTied)
    return made


def test_codes_are_difference_ratio_and_equality_of_token_and_prime() -> None:
    family = make_family(tiny(), "addmod")
    primes = [intent.parameter for intent in family.all_intents()]
    axes = (Axis("token_in", 4, 0.0, 100.0), Axis("d_model", 3))
    relation = Relation(family, axes, axes[0], section(ALL))
    code = relation.code(torch.from_numpy(family.codes(family.all_intents())))
    assert code.shape == (len(primes), 4, relation.width)
    for k, p in enumerate(primes):
        for t in range(4):
            turns = [(t - p) / 4, t / p]
            waves = [[f(2 * math.pi * j * turn) for j in (1, 2) for f in (math.cos, math.sin)] for turn in turns]
            expected = [(t - p) / 100, *waves[0], t / (t + p), *waves[1], float(t == p)]
            assert code[k, t].tolist() == pytest.approx(expected, abs=2e-5)


def test_values_along_the_axis_are_those_of_all_slots() -> None:
    family = make_family(tiny(), "addmod")
    axes = (Axis("d_model", 3), Axis("token_out", 4), Axis("x", 2))
    values = torch.randn(5, 4, 6)
    spread = Relation(family, axes, axes[1], section(ALL)).over_slots(values)
    for slot, (_, token, _) in enumerate(np.ndindex(3, 4, 2)):
        assert torch.equal(spread[:, slot], values[:, token])


@pytest.mark.parametrize(
    ("family", "intent", "axis", "index"),
    [
        ("addmod", "p=5", "token_in", 5),
        ("addmod", "p=5", "token_out", 5),
        ("sumfirst", "n=1", "input", 0),
        ("sumfirst", "n=5", "input", 4),
        ("arc1d", "recolor_bar(2)", "token_out", 2),
        ("arc1d", "recolor_bar(2)", "position", None),
        ("arc1d", "move_right(1)", "position", 1),
        ("arc1d", "move_right(1)", "token_in", None),
        ("arc1d", "fill", "position", None),
        ("arc1d", "fill", "token_out", None),
    ],
)
def test_an_intent_points_at_its_place(family: str, intent: str, axis: str, index: int | None) -> None:
    made = make_family(tiny(), family)
    found = made.relation(axis, torch.from_numpy(made.codes((made.parse(intent),))))
    assert found.tolist() == [index] if index is not None else found.isnan().all()


def test_an_intent_that_points_nowhere_has_zeros() -> None:
    family = make_family(tiny(), "arc1d")
    axes = (Axis("position", 4),)
    u = torch.from_numpy(family.codes((family.parse("fill"), family.parse("recolor_bar(2)"))))
    assert not Relation(family, axes, axes[0], section(ALL)).code(u).any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("learner", TIED)
@pytest.mark.parametrize("rank", [0, 3])
def test_every_group_tied_learner_takes_them(family: str, learner: str, rank: int) -> None:
    if learner != "meta_gnn" and rank:
        pytest.skip("only meta_gnn has a rank")
    more = {"intent_rank": rank} if learner == "meta_gnn" else {}
    made = make(tiny(settings(family, learner, ALL | more)), family, learner)
    plain = make(tiny(settings(family, learner, more)), family, learner)
    assert isinstance(made, MetaLearner)
    u = codes(made.family)
    made.calibrate(u, torch.Generator())
    theta = made.slots(u)
    assert theta.shape == (len(u), made.template.n_slots)
    torch.testing.assert_close(made.slots(u[1:2])[0], theta[1], rtol=1e-4, atol=1e-5)
    theta.square().sum().backward()
    missing = [name for name, parameter in made.named_parameters() if parameter.grad is None]
    missing_before = [name for name, parameter in plain.named_parameters()]
    assert not [name for name in missing if name not in missing_before]
    assert sum(p.numel() for p in made.parameters()) > sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("rank", [0, 3])
def test_meta_gnn_stays_equivariant(rank: int) -> None:
    changes = settings("addmod", "meta_gnn", ALL | {"intent_rank": rank})
    learner = make(tiny(changes), "addmod", "meta_gnn").double()
    assert isinstance(learner, MetaGnn)
    rng = np.random.default_rng(0)
    for _ in range(3):
        assert_equivariant(learner, codes(learner.family).double(), random_automorphism(learner.graph, rng), 1e-9)


@pytest.mark.parametrize("learner", ["meta_gmlp_mx", "meta_gnn"])
def test_without_coordinates_the_same_learner_writes_a_wider_template(learner: str) -> None:
    changes = {"relations": ["ratio"], "fourier_relation": 2, "coordinate": False, "theta0": True}
    changes |= {"init_mode": "per_group", "intent_rank": 3} if learner == "meta_gnn" else {}
    params = tiny(settings("addmod", learner, changes))
    narrow = make(params, "addmod", learner)
    assert isinstance(narrow, MetaLearner)
    assert isinstance(narrow.template, Transformer)
    n = narrow.template.config.d_vocab
    u = codes(narrow.family)
    narrow.calibrate(u, torch.Generator().manual_seed(0))
    wide = wider(narrow, n + 9)
    before, after = narrow.generate(u), wide.generate(u)
    assert after["W_E"].shape[1] == after["W_U"].shape[2] == n + 9
    anchored = wide.template.split(wide.get_buffer("theta0")[None])
    for name, theta in narrow.template.split(narrow.get_buffer("theta0")[None]).items():
        if name in ("W_E", "W_U"):
            assert not anchored[name].any()
        else:
            assert theta.any()
            assert torch.equal(anchored[name], theta)
    if learner == "meta_gmlp_mx":  # message passing sees the new tokens, a slot alone does not
        torch.testing.assert_close(after["W_E"][:, :n], before["W_E"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after["W_U"][..., :n], before["W_U"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_initial_embedding_has_full_rank_along_the_related_axis(seed: int) -> None:
    changes = {"relations": ["ratio"], "fourier_relation": 16, "coordinate": False, "theta0": True, "spread": 0.1}
    params = tiny(settings("addmod", "meta_gnn", changes | {"init_mode": "per_group", "intent_rank": 16}))
    learner = make(params, "addmod", "meta_gnn", seed)
    assert isinstance(learner, MetaLearner)
    learner.calibrate(codes(learner.family), torch.Generator().manual_seed(seed))
    for tensor in learner.template.tensors:
        if tensor.name in ("W_E", "W_U"):
            theta = learner.generate(codes(learner.family))[tensor.name].detach()
            assert 0.6 < float(theta.std()) / tensor.std < 1.6
            tokens = theta[-1] if tensor.name == "W_E" else theta[-1].T  # [v, d]
            values = torch.linalg.svdvals(tokens - tokens.mean(0))
            assert values[3] > 0.25 * values[0]


def test_a_learner_with_coordinates_cannot_be_widened() -> None:
    learner = make(tiny(), "addmod", "meta_gmlp_mx")
    assert isinstance(learner, MetaLearner)
    with pytest.raises(UserError, match="coordinate: false"):
        wider(learner, 50)
