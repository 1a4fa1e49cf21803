"""Matching neurons leaves outputs alone and finds planted orders; runs side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.analysis import comparison
from pipeline.analysis.canonical import distance, matched
from pipeline.analysis.finding import DoesNotApply
from pipeline.analysis.subject import Subject
from pipeline.graph import from_template
from pipeline.graph.symmetries import act, random_automorphism
from pipeline.learners import MetaLearner
from pipeline.params import Params
from pipeline.templates import Mlp, Template, Theta, Transformer, TransformerConfig
from tests.helpers import make

TEMPLATES: dict[str, Template] = {
    "sumfirst": Mlp((10, 16, 1)),
    "deep mlp": Mlp((3, 5, 4, 2)),
    "addmod": Transformer(TransformerConfig(11, 2, 1, 16, 2, 12, False, True, False, 100.0)),
    "arc1d": Transformer(TransformerConfig(10, 12, 6, 12, 3, 10, True, False, True, 3.0)),
}


def weights(template: Template, seed: int = 0) -> Theta:
    generator = torch.Generator().manual_seed(seed)
    return template.split(torch.randn(2, template.n_slots, generator=generator) * 0.5)


def outputs(template: Template, theta: Theta) -> torch.Tensor:
    if isinstance(template, Mlp):
        x = torch.randn(2, 20, template.sizes[0], generator=torch.Generator().manual_seed(1))
    else:
        assert isinstance(template, Transformer)
        shape = (2, 20, template.config.n_ctx)
        x = torch.randint(0, template.config.d_vocab, shape, generator=torch.Generator().manual_seed(1))
    return template.forward(theta, x)


@pytest.mark.parametrize("name", TEMPLATES)
def test_matching_leaves_outputs_unchanged_and_is_never_further(name: str) -> None:
    template = TEMPLATES[name]
    first, second = weights(template, 0), weights(template, 1)
    moved = matched(from_template(template), first, second)
    assert any(not torch.equal(moved[key], second[key]) for key in second)
    torch.testing.assert_close(outputs(template, moved), outputs(template, second), atol=1e-4, rtol=1e-4)
    assert distance(first, moved) < distance(first, second)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_planted_order_is_found(name: str, seed: int) -> None:
    template = TEMPLATES[name]
    graph, theta = from_template(template), weights(template)
    shuffled = act(graph, random_automorphism(graph, np.random.default_rng(seed)), theta)
    assert distance(theta, matched(graph, theta, shuffled)) == pytest.approx(0, abs=1e-6)


def test_distance_is_relative() -> None:
    one = {"W": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[0.0]])}
    other = {"W": torch.tensor([[0.0, 1.0]]), "b": torch.tensor([[0.0]])}
    assert distance(one, one) == 0
    assert distance(one, other) == pytest.approx(np.sqrt(2))
    assert distance({name: 7 * value for name, value in one.items()}, one) == pytest.approx(6 / 4)


def run(params: Params, family: str, name: str, seed: int) -> Subject:
    made, before = make(params, family, name, seed), make(params, family, name, seed + 100)
    assert isinstance(made, MetaLearner) and isinstance(before, MetaLearner)
    intents = made.family.all_intents()
    u = torch.from_numpy(made.family.codes(intents))
    with torch.no_grad():
        theta = made.generate(u), before.generate(u)
    return Subject(made.family, made, {"learner": name, "seed": seed}, intents, *theta)


def test_circles_are_counted_by_energy() -> None:
    angle = 2 * np.pi * np.arange(23)[:, None] / 23
    circle = [np.concatenate([np.cos(k * angle), np.sin(k * angle)], 1) for k in (2, 5, 7)]
    assert comparison.circles(circle[0] + 3) == 1
    assert comparison.circles(np.concatenate(circle, 1)) == 3
    assert comparison.circles(np.concatenate([circle[0], circle[1], 0.1 * circle[2]], 1)) == 2
    assert comparison.circles(np.concatenate([circle[0], 0.1 * circle[1]], 1)) == 1


def test_a_run_and_itself_reordered_are_one_network(params: Params) -> None:
    first = run(params, "addmod", "meta_mlp", 0)
    graph = from_template(first.template)
    moved = act(graph, random_automorphism(graph, np.random.default_rng(0)), first.theta)
    second = replace(first, theta=moved, config={"learner": "meta_mlp", "seed": 1})
    pairs = comparison.analyse([first, second]).tables["pairs"]
    assert pairs["distance"][0] > 0.5
    assert pairs["distance_matched"][0] == pytest.approx(0, abs=1e-5)
    assert pairs["untrained"][0] == 0
    assert pairs["lowest_matched"][0] == pytest.approx(first.accuracy.mean(), abs=0.01)


@pytest.mark.parametrize("family", ["sumfirst", "addmod"])
def test_seeds_are_paired_with_neighbours_and_learners_with_each_other(params: Params, family: str) -> None:
    runs = [run(params, family, name, seed) for name in ("meta_gnn", "meta_mlp") for seed in (2, 0, 1)]
    finding = comparison.analyse(runs)
    pairs = finding.tables["pairs"]
    assert list(pairs["group"]) == ["meta_mlp"] * 2 + ["meta_gnn"] * 2 + ["meta_mlp_vs_meta_gnn"] * 3
    assert list(pairs["first"][:2]) == ["meta_mlp seed 0", "meta_mlp seed 1"]
    assert (pairs["distance_matched"] <= pairs["distance"]).all()
    assert ("circles" in finding.tables["runs"]) == (family == "addmod")
    if family == "addmod":
        assert "circles are not counted" in " ".join(finding.text)  # nothing is trained


def test_no_more_runs_than_the_cap(params: Params) -> None:
    one = run(params, "sumfirst", "meta_mlp", 0)
    many = [replace(one, config={"learner": "meta_mlp", "seed": seed}) for seed in range(30)]
    finding = comparison.analyse(many)
    assert finding.numbers["runs"] == 20
    assert "10 of the 30 given" in finding.text[0]


def test_one_run_or_unlike_runs_are_not_compared(params: Params) -> None:
    one = run(params, "sumfirst", "meta_mlp", 0)
    for subjects in ([], [one], [one, run(params, "addmod", "meta_mlp", 0)]):
        with pytest.raises(DoesNotApply, match="Fewer than two"):
            comparison.analyse(subjects)
    with pytest.raises(DoesNotApply, match="No learner has two seeds"):
        comparison.analyse([one, run(params, "sumfirst", "meta_gmlp", 0)])
