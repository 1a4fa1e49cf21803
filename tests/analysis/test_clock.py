"""The clock metrics against networks and logits whose values are known in closed form."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
import torch

from pipeline.analysis import clock
from pipeline.analysis.finding import DoesNotApply
from pipeline.analysis.subject import Subject
from pipeline.learners import MetaLearner
from pipeline.params import Params
from pipeline.templates import Theta, Transformer, TransformerConfig
from tests.helpers import make

PRIMES = [5, 11]
D = 4


def network(positional: bool = False) -> Transformer:
    return Transformer(TransformerConfig(11, 2, 1, 2 * D, 2, 8, positional, True, False, 100.0))


def weights(template: Transformer) -> Theta:
    generator = torch.Generator().manual_seed(0)
    return {t.name: torch.randn(len(PRIMES), *t.shape, generator=generator) for t in template.tensors}


def sum_only(template: Transformer) -> Theta:
    """θ whose logits see E_a + E_b only: attention looks at position 0 alone and adds its embedding unchanged."""
    theta = weights(template)
    for name in ("W_Q", "W_K", "W_V", "W_pos"):
        theta[name].zero_()
    theta["b_Q"].fill_(1)
    theta["W_K"][:, :, 0] = 1
    theta["W_pos"][:, 0, 0] = 100  # so large that the softmax is exactly one-hot
    theta["W_V"][:] = torch.eye(2 * D).view(2 * D, 2, D).transpose(0, 1)
    return theta


def subject(params: Params, family: str) -> Subject:
    trained, before = make(params, family, "meta_mlp", 0), make(params, family, "meta_mlp", 1)
    assert isinstance(trained, MetaLearner) and isinstance(before, MetaLearner)
    intents = trained.family.all_intents()
    u = torch.from_numpy(trained.family.codes(intents))
    config = {"learner": "meta_mlp", "seed": 0}
    with torch.no_grad():
        return Subject(trained.family, trained, config, intents, trained.generate(u), before.generate(u))


def test_triples_are_the_first_of_a_shuffle_of_all_in_order() -> None:
    whole = list(product(range(7), repeat=3))
    random.Random(42).shuffle(whole)
    assert clock.triples(7).tolist() == [list(triple) for triple in whole[:100]]


def test_a_network_of_the_sum_of_embeddings_is_symmetric() -> None:
    template = network(positional=True)
    theta = sum_only(template)
    np.testing.assert_allclose(clock.gradient_symmetricity(template, theta, PRIMES), 1, atol=1e-5)
    assert (np.abs(clock.gradient_symmetricity(template, weights(template), PRIMES)) < 0.9).all()


def test_a_network_that_reads_one_token_has_no_symmetry() -> None:
    template = network(positional=True)
    theta = sum_only(template)
    theta["W_V"].zero_()  # the last position now sees its own token only
    assert clock.gradient_symmetricity(template, theta, PRIMES) == pytest.approx([0, 0])


def test_symmetricity_is_that_of_single_gradients() -> None:
    template = network(positional=True)
    theta = weights(template)
    a, b, c = clock.triples(5)[0].tolist()
    leaf = theta["W_E"][:1, [a, b]].clone().requires_grad_()
    # Rows a and b of W_E, given as two tokens of their own.
    own = {name: value[:1] for name, value in theta.items()} | {"W_E": torch.cat([leaf, theta["W_E"][:1, 2:]], 1)}
    template.forward(own, torch.tensor([[[0, 1]]]))[0, 0, 0, c].backward()
    assert leaf.grad is not None
    expected = torch.cosine_similarity(leaf.grad[0, 0], leaf.grad[0, 1], dim=0).item()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "TRIPLES", 1)
        assert clock.gradient_symmetricity(template, theta, PRIMES)[0] == pytest.approx(expected, abs=1e-5)


def test_distance_irrelevance_of_distances_and_of_sums() -> None:
    p = 13
    values = np.random.default_rng(0).normal(size=p)
    a, b = np.indices((p, p))
    assert clock.distance_irrelevance(values[(a - b) % p]) == pytest.approx(0, abs=1e-9)
    assert clock.distance_irrelevance(values[(a + b) % p]) == pytest.approx(1)
    both = clock.distance_irrelevance(values[(a - b) % p] + values[(a + b) % p])
    assert both == pytest.approx(np.sqrt(0.5))
    assert np.isnan(clock.distance_irrelevance(np.ones((p, p))))


def test_correct_logits_are_those_of_the_sum() -> None:
    template = network()
    theta = {name: value[:1] for name, value in weights(template).items()}
    logits = clock.correct_logits(template, theta, 5)
    for a, b in product(range(5), repeat=2):
        one = template.forward(theta, torch.tensor([[[a, b]]]))[0, 0, 0, (a + b) % 5].item()
        assert logits[a, b] == pytest.approx(one, abs=1e-4)


def test_circularity_of_circles_and_of_noise() -> None:
    p, rng = 59, np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(p)[:, None] / p
    circles = np.concatenate([3 * np.cos(3 * angle), 3 * np.sin(3 * angle), np.cos(7 * angle), np.sin(7 * angle)], 1)
    turned = circles @ np.linalg.qr(rng.normal(size=(16, 16)))[0][:4]
    assert clock.circularity(circles) > 0.999
    assert clock.circularity(turned + 5) > 0.999
    assert clock.circularity(circles[:, :2]) > 0.999
    assert clock.circularity(turned[rng.permutation(p)]) < 0.5
    noise = np.mean([clock.circularity(rng.normal(size=(59, 128))) for _ in range(20)])
    assert noise == pytest.approx(0.14, abs=0.02)
    assert np.isnan(clock.circularity(np.ones((p, 4))))


def test_a_finding_counts_only_networks_that_pass(params: Params) -> None:
    one = subject(params, "addmod")
    finding = clock.analyse(one)
    table = finding.tables["metrics"]
    assert list(table["p"]) == [intent.parameter for intent in one.intents]
    assert not one.passed.any() and finding.numbers["passed"] == 0
    assert finding.numbers["circularity_trained"] is None
    assert finding.numbers["circularity_untrained"] == pytest.approx(table["circularity_untrained"].mean())
    assert "no network" in " ".join(finding.text)
    assert finding.figures["metrics"] == clock.analyse(one).figures["metrics"]


def test_only_modular_addition_has_a_clock(params: Params) -> None:
    with pytest.raises(DoesNotApply, match="modular addition"):
        clock.analyse(subject(params, "sumfirst"))
