"""meta_gnn: equivariance, agreement with an implementation edge by edge, and its settings."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.fft
import torch

from benchmarks.peers.sparse_meta_gnn import SparseMetaGnn
from pipeline.graph.symmetries import incidences, random_automorphism
from pipeline.learners.equivariance import assert_equivariant
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import MetaGnn as Settings
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.templates import make_template

EXACT = {torch.float32: 2e-5, torch.float64: 1e-12}


def section(**changes: object) -> Settings:
    values = {
        "budget": None,
        "activation": "silu",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "spread": 1.0,
        "theta0": True,
        "fourier": 4,
        "fourier_ordered": 2,
        "d_h": 8,
        "rounds": 2,
        "width": 10,
        "intent_rank": 3,
        "intent_hidden": [5],
        "init_mode": "all",
        "aggregation": "attn",
        "use_norm": False,
        "bidirectional": True,
        "rev_edge_mode": "separate",
        "residual": True,
        "pairing": True,
    }
    return Settings.model_validate(values | changes)


def learner(params: Params, family: str, dtype: torch.dtype = torch.float64, **changes: object) -> MetaGnn:
    programs, template = make_family(params, family), make_template(params, family)
    made = MetaGnn(programs, template, section(**changes), programs.codes(programs.all_intents()).shape[1])
    made.calibrate(codes(params, family), torch.Generator().manual_seed(0))
    return made.to(dtype)


def codes(params: Params, family: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    programs = make_family(params, family)
    return torch.from_numpy(programs.codes(programs.intents("train")[:3])).to(dtype)


MIXING = [{"intent_rank": 0}, {"intent_rank": 3}]
FAMILIES = ["sumfirst", "addmod", "arc1d"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mixing", [*MIXING, {"bandwidth": 3}, {"shared_rounds": False}])
@pytest.mark.parametrize("dtype", EXACT)
def test_permuting_the_codes_permutes_theta(params: Params, family: str, mixing: dict, dtype: torch.dtype) -> None:
    gnn = learner(params, family, dtype, **mixing)
    moves = random_automorphism(gnn.graph, np.random.default_rng(0))
    assert_equivariant(gnn, codes(params, family, dtype), moves, EXACT[dtype])


@pytest.mark.parametrize("family", FAMILIES)
def test_without_codes_every_automorphism_leaves_theta_unchanged(params: Params, family: str) -> None:
    bare = {"fourier": 0, "fourier_ordered": 0, "init_mode": "per_group", "theta0": False, "intent_rank": 0}
    gnn, u = learner(params, family, **bare), codes(params, family, torch.float64)
    for i, group in enumerate(gnn.graph.groups):
        if not group.fixed:
            assert getattr(gnn, f"code_{i}").shape[1] == 0
    for seed in range(3):
        moves = random_automorphism(gnn.graph, np.random.default_rng(seed))
        assert_equivariant(gnn, u, moves, EXACT[torch.float64])


@pytest.mark.parametrize("family", FAMILIES)
def test_uncoupled_permutations_fail(params: Params, family: str) -> None:
    gnn, u = learner(params, family), codes(params, family, torch.float64)
    moves = random_automorphism(gnn.graph, np.random.default_rng(1))
    for incidence in incidences(gnn.graph):
        if (np.diff(moves[incidence.group]) == 1).all():
            continue
        with pytest.raises(AssertionError, match="not equivariant"):
            assert_equivariant(gnn, u, moves, 1e-6, leave=incidence)


VARIANTS = [
    {"aggregation": aggregation, "use_norm": norm, **mixing}
    for aggregation, norm, mixing in product(["attn", "avg", "sum"], [False, True], MIXING)
] + [
    {"bidirectional": False},
    {"rev_edge_mode": "shared"},
    {"init_mode": "per_group"},
    {"init_mode": "global"},
    {"residual": False},
    {"pairing": False},
    {"shared_rounds": False},
    {"shared_rounds": False, "rev_edge_mode": "shared", "intent_rank": 0},
    {"residual": False, "pairing": False, "bidirectional": False, "intent_rank": 0},
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()))
def test_blocks_agree_with_edges_one_by_one(params: Params, family: str, changes: dict) -> None:
    gnn, u = learner(params, family, **changes), codes(params, family, torch.float64)
    dense, sparse = gnn.slots(u), SparseMetaGnn(gnn).slots(u)
    torch.testing.assert_close(sparse, dense, rtol=1e-9, atol=1e-11)
    pull = torch.randn(dense.shape, dtype=dense.dtype, generator=torch.Generator().manual_seed(1))
    parameters = [p for p in gnn.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad((out * pull).sum(), parameters, allow_unused=True) for out in (dense, sparse)]
    for ours, theirs in zip(*gradients, strict=True):
        # A parameter that nothing reads has no gradient in one form and zeros in the other.
        nothing = (
            torch.zeros(()) if ours is None and theirs is None else torch.zeros_like(theirs if ours is None else ours)
        )
        ours, theirs = nothing if ours is None else ours, nothing if theirs is None else theirs
        torch.testing.assert_close(theirs, ours, rtol=1e-7, atol=1e-9)


def test_messages_reach_beyond_one_layer(params: Params) -> None:
    """After k rounds a slot depends on codes k steps away, and with no rounds' worth of edges it does not."""
    gnn = learner(params, "sumfirst", intent_rank=0, init_mode="all", rounds=2)
    u = codes(params, "sumfirst", torch.float64)
    first = gnn.learned[0]
    (gradient,) = torch.autograd.grad(gnn.generate(u)["b_1"].sum(), [first])
    assert gradient.abs().min() > 0


def test_rounds_share_their_parameters_or_have_their_own(params: Params) -> None:
    u = codes(params, "sumfirst", torch.float64)
    shared, own = (learner(params, "sumfirst", rounds=3, shared_rounds=s) for s in (True, False))
    for gnn in (shared, own):
        first = gnn.passing.in_turn[0]
        before = gnn.slots(u)
        for each in gnn.passing.in_turn[1:]:
            each.load_state_dict(first.state_dict())
        assert torch.equal(gnn.slots(u), before) == (gnn is shared)
    assert len({id(each) for each in shared.passing.in_turn}) == 1
    assert len({id(each) for each in own.passing.in_turn}) == 3


def test_learned_codes_stay_within_the_bandwidth(params: Params) -> None:
    gnn, u = learner(params, "addmod", bandwidth=3), codes(params, "addmod", torch.float64)
    with torch.no_grad():
        for codes_of_group in gnn.learned:  # as training may leave them
            codes_of_group.copy_(torch.randn_like(codes_of_group))
        whole, _ = gnn.embed(u)
        gnn.learned[0].zero_()
        without, _ = gnn.embed(u)
    tokens, bare = (gnn.passing.groups(nodes)["token_in"] for nodes in (whole, without))
    waves = scipy.fft.dct((tokens - bare)[0].numpy(), axis=0)
    assert waves[3:] == pytest.approx(0, abs=1e-5)
    assert np.abs(waves[:3]).min() > 1e-5


def test_intents_of_a_batch_do_not_mix(params: Params) -> None:
    for mixing in MIXING:
        gnn, u = learner(params, "sumfirst", **mixing), codes(params, "sumfirst", torch.float64)
        alone = torch.cat([gnn.slots(one) for one in u.split(1)])
        torch.testing.assert_close(gnn.slots(u), alone, rtol=1e-10, atol=1e-12)
