"""Matching neurons leaves outputs alone and finds planted orders; runs side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.analysis.canonical import distance, matched
from pipeline.graph import from_template
from pipeline.graph.symmetries import act, random_automorphism
from pipeline.templates import Mlp, Template, Theta, Transformer, TransformerConfig

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
