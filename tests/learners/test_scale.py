"""The logarithmic scale: intents, codes and waves, against their formulas and what they are for."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.errors import UserError
from pipeline.learners import MetaLearner, meta_gnn_for
from pipeline.learners.layers import BandLimit, axis_code
from pipeline.learners.scale import coordinates, scaled, waves
from pipeline.templates import Axis
from tests.helpers import make, tiny
from tests.learners.test_layers import TOKENS, settings


def test_equal_ratios_are_equal_distances() -> None:
    u = torch.tensor([11.0, 22.0, 44.0, 88.0, 100.0], dtype=torch.float64) / 100
    distances = scaled(u, "log").diff()
    assert distances[:3].tolist() == pytest.approx([math.log(2) / 1.5] * 3)
    assert float(scaled(u, "log")[-1]) == 1.0
    assert torch.equal(scaled(u, "linear"), u)


def test_a_token_stands_where_a_prime_of_ten_more_would() -> None:
    index = torch.tensor([1.0, 13.0, 63.0], dtype=torch.float64)
    assert torch.equal(coordinates(TOKENS, index, "log"), scaled((index + 10) / 100, "log"))
    code = axis_code(TOKENS, 0, 2, "log")
    for i in (0, 5, 96):
        turn = 2 * math.pi * math.log1p(i / 10) / math.log1p(9.7)
        expected = [1 + math.log((i + 10) / 100) / 1.5, *(f(j * turn) for j in (1, 2) for f in (math.cos, math.sin))]
        assert code[i].tolist() == pytest.approx(expected, abs=1e-6)
    unordered = Axis("hidden", 5)
    assert torch.equal(axis_code(unordered, 2, 2, "log"), axis_code(unordered, 2, 2))


def test_the_waves_are_those_along_the_logarithm() -> None:
    basis = waves(TOKENS, 9, "log")
    torch.testing.assert_close(basis.T @ basis, torch.eye(9, dtype=torch.float64))
    where = torch.log1p((torch.arange(97, dtype=torch.float64) + 0.5) / 10) / math.log1p(9.7)
    for j in range(9):
        wave = torch.cos(math.pi * j * where)
        torch.testing.assert_close(basis @ (basis.T @ wave), wave)


def test_few_waves_hold_the_circles_of_every_prime() -> None:
    """What the scale is for: token a < p at angle 2πa / p, for small and large primes alike."""

    def missed(scale: str, p: int) -> float:
        basis = waves(TOKENS, 12, scale)[:p]  # type: ignore[arg-type]
        circle = torch.cos(2 * math.pi * torch.arange(p, dtype=torch.float64) / p)[:, None]
        # Only tokens below p are used, so the best fit to those counts; huge coefficients are none.
        ridge = 1e-6 * torch.eye(12, dtype=torch.float64)
        fit = torch.linalg.solve(basis.T @ basis + ridge, basis.T @ circle)
        return float((basis @ fit - circle).norm() / circle.norm() + 1e-3 * fit.norm())

    assert missed("log", 11) < missed("linear", 11) / 2
    assert max(missed("log", p) for p in (11, 13, 23, 37, 71, 97)) < 0.1


def test_a_band_limit_keeps_the_spread_of_white_noise_at_every_token() -> None:
    passed = BandLimit((TOKENS,), settings(12, "log"), True).get_buffer("pass_0")
    torch.testing.assert_close(passed.square().sum(1), torch.ones(97))
    quiet = BandLimit((TOKENS,), settings(12, "log"), False)
    torch.testing.assert_close(quiet(torch.ones(97, 2)), torch.ones(97, 2))


@pytest.mark.parametrize("learner", ["meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn"])
def test_a_learner_reads_the_logarithm_of_the_prime(learner: str) -> None:
    place = f"learners.addmod.{learner}"
    made, plain = (make(tiny({f"{place}.scale": scale}), "addmod", learner, 0) for scale in ("log", "linear"))
    assert isinstance(made, MetaLearner)
    assert isinstance(plain, MetaLearner)
    u = torch.from_numpy(made.family.codes(made.family.all_intents()))
    assert torch.equal(made.slots(u), made.slots_of(1 + u.log() / 1.5))
    assert torch.equal(plain.slots(u), plain.slots_of(u))
    assert made.slots(u).isfinite().all()


@pytest.mark.parametrize("family", ["sumfirst", "arc1d"])
def test_intents_that_are_no_sizes_have_no_logarithm(family: str) -> None:
    with pytest.raises(UserError, match=f"learners.{family}: {family} has no intents that are sizes"):
        make(tiny({f"learners.{family}.meta_mlp.scale": "log"}), family, "meta_mlp", 0)
    with pytest.raises(UserError, match="a network of your own has no intents that are sizes"):
        meta_gnn_for(torch.nn.Linear(3, 2), torch.zeros(2, 1), torch.zeros(4, 3), scale="log")
