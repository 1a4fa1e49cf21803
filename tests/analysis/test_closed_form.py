"""Formulas are found again where they are known, and put back into networks whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis import closed_form, geometry, grammar, masked_sum, spectrum, symbolic
from pipeline.analysis.components import components
from pipeline.analysis.finding import DoesNotApply
from pipeline.analysis.grammar import VARIABLES, cosines, fit, parabola_of, polynomial, r2
from pipeline.analysis.masked_sum import error_bound
from pipeline.analysis.plain_python import transformer_source
from pipeline.analysis.subject import Subject
from pipeline.errors import UserError
from pipeline.learners import MetaLearner
from pipeline.params import Params
from pipeline.programs import Intent, make_family
from pipeline.templates import Transformer, make_template
from tests.helpers import changed, make, paper_values

PRIMES = np.array([11, 17, 19, 29, 31, 41, 43, 47, 53, 59, 61, 67, 73, 79, 89, 97], float)
NEW = np.array([13, 23, 37, 71, 83], float)


@given(st.lists(st.floats(-5, 5).filter(lambda c: abs(c) > 0.1), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_a_polynomial_is_found_with_its_coefficients(coefficients: list[float]) -> None:
    y = np.polynomial.Polynomial(coefficients)(PRIMES / 100)
    found = closed_form.choose(PRIMES, y, VARIABLES["linear"])
    assert found.length <= 3
    exact = fit(polynomial(2), PRIMES, y)
    np.testing.assert_allclose(exact.coefficients, coefficients, atol=1e-8)
    assert r2(np.polynomial.Polynomial(coefficients)(NEW / 100), exact(NEW)) == pytest.approx(1)
    s = VARIABLES["log"]
    found = closed_form.choose(PRIMES, np.polynomial.Polynomial(coefficients)(np.log(PRIMES / 100)), s)
    assert found.length <= 3


def test_the_papers_formula_is_found_with_its_angle() -> None:
    """PC₁ and PC₂ as the paper prints them, with its r and φ."""
    x = np.cos(5.672 / PRIMES + 3.631)
    first = fit(cosines(1), PRIMES, 23.43 * x)
    assert first.angle == pytest.approx(5.672, rel=1e-3)
    np.testing.assert_allclose(first(NEW), 23.43 * np.cos(5.672 / NEW + 3.631), rtol=1e-4)
    second = fit(parabola_of(first), PRIMES, 1 + 2 * np.sqrt(1 - 0.81 * x**2) + 0.1 * x)
    assert r2(1 + 2 * np.sqrt(1 - 0.81 * x**2) + 0.1 * x, second(PRIMES)) > 0.999


def test_noise_has_no_closed_form_and_wide_intervals() -> None:
    y = np.random.default_rng(0).normal(size=len(PRIMES))
    found = closed_form.choose(PRIMES, y, VARIABLES["linear"])
    assert grammar.left_out(found.shape, PRIMES, y) < closed_form.GOOD
    exact = fit(polynomial(1), PRIMES, 3 * PRIMES)
    assert exact.intervals.max() < 1e-6 < fit(polynomial(1), PRIMES, y).intervals.min()


def test_intervals_are_those_of_least_squares() -> None:
    """The textbook's standard error of a slope."""
    y = np.random.default_rng(1).normal(size=len(PRIMES))
    s = PRIMES / 100
    found = fit(polynomial(1), PRIMES, y)
    residual = y - found(PRIMES)
    error = np.sqrt((residual**2).sum() / 14 / ((s - s.mean()) ** 2).sum())
    assert found.intervals[1] == pytest.approx(2.1447866879 * error)  # t(0.975, 14)


def test_components_rebuild_what_they_are_made_of() -> None:
    points = np.random.default_rng(2).normal(size=(6, 40))
    found = components(points)
    np.testing.assert_allclose(found.rebuilt(found.scores(points)), points, atol=1e-10)
    assert found.explained.sum() == pytest.approx(1)
    np.testing.assert_array_equal(components(-points).directions, components(points).directions)


def circle(p: int, k: int, d: int = 4) -> np.ndarray:
    """Tokens 0 … p − 1 on circles of frequency k."""
    turn = 2 * np.pi * k * np.arange(p)[:, None] / p
    return np.cos(turn + np.arange(d)) * np.arange(1, d + 1)


@pytest.mark.parametrize(("p", "k"), [(11, 1), (11, 5), (12, 6), (59, 7)])
def test_a_circle_has_one_frequency(p: int, k: int) -> None:
    share = spectrum.energy(circle(p, k) + 3)
    assert share[k - 1] == pytest.approx(1)
    assert spectrum.count(share) == 1
    np.testing.assert_allclose(symbolic.strongest(circle(p, k) + 3, 1), circle(p, k) + 3, atol=1e-12)


def test_circles_are_counted() -> None:
    assert spectrum.count(spectrum.energy(circle(59, 3) + circle(59, 7) + circle(59, 11))) == 3


def test_peaks_are_those_of_a_pure_wave() -> None:
    peaks = spectrum.peaks_of(5 * np.cos(2 * np.pi * 3 * np.arange(21) / 21), "PC1")
    assert peaks["index"][0] == 3
    assert peaks["frequency"][0] == pytest.approx(3 / 21)
    assert peaks["amplitude"][0] == pytest.approx(5 * 21 / 2)


@pytest.fixture(scope="module", params=["linear", "log"])
def quadratic(request: pytest.FixtureRequest) -> Subject:
    """The paper's addmod with θ(p) = A + B s + C s² exactly, s the prime as the learner reads it: random weights, so
    few answers are right."""
    params = Params.model_validate(changed(paper_values(), {"learners.addmod.meta_mlp.scale": request.param}))
    family, template = make_family(params, "addmod"), make_template(params, "addmod")
    learner = make(params, "addmod", "meta_mlp")
    assert isinstance(learner, MetaLearner)
    intents = tuple(sorted(family.all_intents(), key=lambda intent: intent.parameter))
    generator = torch.Generator().manual_seed(0)
    s = torch.tensor([[VARIABLES[request.param].of(np.float64(intent.parameter))] for intent in intents]).float()
    flat = sum(template.initial(generator)[None] * s**d for d in range(3))
    theta = template.split(flat)
    return Subject(family, learner, {"learner": "meta_mlp", "seed": 0}, intents, theta, theta)


def test_a_network_that_is_quadratic_is_found_whole(quadratic: Subject) -> None:
    table = symbolic.polynomials(quadratic, 2)
    for name, value in symbolic.evaluated(quadratic, table).items():
        torch.testing.assert_close(value, quadratic.theta[name], atol=2e-5, rtol=1e-4)
    assert len(table) == quadratic.template.n_slots


def test_the_plain_python_program_answers_as_the_network(quadratic: Subject, tmp_path) -> None:  # type: ignore[no-untyped-def]
    table = symbolic.polynomials(quadratic, 2)
    table.to_csv(tmp_path / "coefficients.csv", index=False)
    program: dict[str, object] = {}
    exec(transformer_source(quadratic.template, 2, VARIABLES[quadratic.scale]), program)  # our own text
    weights = program["weights"](11, program["coefficients"](tmp_path / "coefficients.csv"))  # type: ignore[operator]
    pairs = [(a, b) for a in range(11) for b in range(11)]
    said = [program["answer"](11, a, b, weights) for a, b in pairs]  # type: ignore[operator]
    k = quadratic.intents.index(Intent("p", 11))
    network = quadratic.program(k, symbolic.evaluated(quadratic, table)).answers(np.array(pairs))[:, 0]
    assert said == network.tolist()


def test_the_findings_say_what_was_fitted(quadratic: Subject) -> None:
    found = closed_form.analyse(quadratic)
    assert found.numbers["pc1_ours_held_out"] > 0.999  # type: ignore[operator]
    assert found.numbers["pc2_ours_held_out"] > 0.999  # type: ignore[operator]
    back = symbolic.analyse(quadratic)
    assert back.numbers["whole_numbers"] == (back.numbers["whole_degree"] + 1) * 6048  # type: ignore[operator]
    assert geometry.analyse(quadratic).numbers["pc1_explained"] > 0.5  # type: ignore[operator]
    assert set(spectrum.analyse(quadratic).captions) == {"peaks", "circles", "energy"}


def test_weights_that_solve_nothing_get_no_verdict(quadratic: Subject) -> None:
    """Random weights lose nothing when they are cut down, which says nothing of circles."""
    assert not quadratic.passed.any()
    for analysis in (closed_form, symbolic):
        text = " ".join(analysis.analyse(quadratic).text)
        assert "No network reaches an accuracy of 0.99" in text
        assert "carry the answers" not in text


def test_circles_are_judged_prime_by_prime_above_the_gate() -> None:
    lost, passed = pd.Series([0.0, 0.3, 0.0]), np.array([True, True, False])
    assert "circles alone do not carry the answers" in symbolic._verdict(lost, passed)
    assert "Of the 1 networks above the gate 1 lose" in symbolic._verdict(lost, np.array([True, False, False]))
    assert symbolic._verdict(lost, np.zeros(3, bool)) == ""


def test_a_degree_that_does_not_suffice_is_told(quadratic: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic, "SLACK", -1.0)  # no accuracy is one above the network's own
    assert "No degree up to 4 keeps the accuracy" in " ".join(symbolic.analyse(quadratic).text)


def test_lengths_that_are_no_mask_are_named() -> None:
    rows = [(1, True, True), (2, True, True), (3, False, False)]
    table = pd.DataFrame(
        [
            {"n": n, "trained": t, "a prefix": ok, "agrees": 1.0 if ok else 0.03, "proven": False, "rule right": ok}
            for n, t, ok in rows
        ]
    )
    text = masked_sum._sentences(table, 1.0, 0.0)
    assert "2 of 3 lengths (not for n = 3)" in text[0]
    assert "n = 3 (not what it adds)" in text[0]
    assert "100.00% to 100.00%" in text[1]


def test_too_few_primes_are_told(quadratic: Subject) -> None:
    few = Subject(
        quadratic.family,
        quadratic.learner,
        quadratic.config,
        quadratic.intents[:7],
        {name: value[:7] for name, value in quadratic.theta.items()},
        quadratic.untrained,
    )
    for analysis in (closed_form, symbolic):
        with pytest.raises(DoesNotApply, match=r"at least 8 trained primes; there are \d\.$"):
            analysis.analyse(few)


def test_other_templates_are_not_written_as_python(params: Params) -> None:
    template = make_template(params, "arc1d")
    assert isinstance(template, Transformer)
    with pytest.raises(UserError, match="only that is written as plain Python"):
        transformer_source(template, 2, VARIABLES["linear"])


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_of_a_sum_is_sound(seed: int) -> None:
    """No list of a box is further from the masked sum than the bound says; an exact network is at distance 0."""
    generator = torch.Generator().manual_seed(seed)
    theta = {
        "W_0": torch.randn(1, 4, 6, generator=generator, dtype=torch.float64),
        "b_0": torch.randn(1, 6, generator=generator, dtype=torch.float64) * 3,
        "W_1": torch.randn(1, 6, 1, generator=generator, dtype=torch.float64),
        "b_1": torch.randn(1, 1, generator=generator, dtype=torch.float64),
    }
    mask = np.array([1.0, 1.0, 0.0, 0.0])
    x = torch.rand(4000, 4, generator=generator, dtype=torch.float64) * 6 - 3
    x[:16] = torch.tensor([[3.0 if i >> j & 1 else -3.0 for j in range(4)] for i in range(16)])
    y = torch.relu(x @ theta["W_0"][0] + theta["b_0"][0]) @ theta["W_1"][0] + theta["b_1"][0]
    distance = (y[:, 0] - x @ torch.from_numpy(mask)).abs().max()
    assert float(distance) <= error_bound(theta, mask, -3, 3) + 1e-9


def test_an_exact_sum_is_proven() -> None:
    """x₁ + x₂ = relu(x₁ + x₂ + 9) − 9 where both are at least −3."""
    theta = {
        "W_0": torch.tensor([[[1.0], [1.0], [0.0]]]),
        "b_0": torch.tensor([[9.0]]),
        "W_1": torch.tensor([[[1.0]]]),
        "b_1": torch.tensor([[-9.0]]),
    }
    assert error_bound(theta, np.array([1.0, 1.0, 0.0]), -3, 3) == pytest.approx(0, abs=1e-9)
