"""Neural graphs of users' networks: every scalar has one place, every claimed symmetry holds, and no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.graph import NeuralGraph, from_template
from pipeline.graph.draw import draw
from pipeline.graph.neural_graph import ALIGN
from pipeline.graph.symmetries import Incidence, act, incidences, random_automorphism
from pipeline.graph.views import tables
from pipeline.templates import Mlp, ModuleTemplate, Theta
from tests.graph.modules import CASES

EXACT = 1e-9


def made(name: str) -> tuple[ModuleTemplate, NeuralGraph, tuple[Tensor, ...]]:
    module, x = CASES[name]()
    template = ModuleTemplate(module, *x)
    return template, NeuralGraph.from_module(module, *x), tuple(doubled(t) for t in x)


def doubled(x: Tensor) -> Tensor:
    """Two batches of float64 (or tokens), one for each weight set."""
    both = torch.stack([x, x.roll(1, 0)])
    return both.double() if x.is_floating_point() else both


def weights(template: ModuleTemplate) -> Theta:
    return template.split(torch.randn(2, template.n_slots, dtype=torch.float64) * 0.7)


def change(template: ModuleTemplate, x: tuple[Tensor, ...], theta: Theta, moved: Theta) -> float:
    return float((template.forward(moved, *x) - template.forward(theta, *x)).abs().max())


def without_influence(name: str, template: ModuleTemplate, incidence: Incidence) -> bool:
    """A key's bias adds the same to every score of a query, and softmax ignores it."""
    return incidence.side == "bias" and incidence.tensor.endswith("in_proj_bias") and ".K" in f".{incidence.group}"


@pytest.mark.parametrize("name", CASES)
def test_every_scalar_has_one_place(name: str) -> None:
    template, graph, _ = made(name)
    assert [t.name for t in template.tensors] == [name for name, _ in template.module.named_parameters()]
    theta = template.split(torch.arange(2 * template.n_slots).view(2, -1))
    blocks, biases = graph.to_blocks(theta)
    seen = torch.cat([w.flatten() for w in blocks] + [b.flatten() for b in biases.values()])
    assert sorted(seen.tolist()) == list(range(2 * template.n_slots))
    back = graph.from_blocks(blocks, biases)
    assert all(torch.equal(back[name], theta[name]) for name in theta)
    view = tables(graph, template)
    slots = np.concatenate([view.nodes["slot"], view.edges["slot"]])
    assert sorted(slots[slots >= 0]) == list(range(template.n_slots))


@pytest.mark.parametrize("name", CASES)
def test_automorphisms_leave_the_function_unchanged(name: str) -> None:
    template, graph, x = made(name)
    theta, moves_at_all = weights(template), False
    for seed in range(3):
        moved = act(graph, random_automorphism(graph, np.random.default_rng(seed)), theta)
        moves_at_all |= any(not torch.equal(moved[key], theta[key]) for key in theta)
        assert change(template, x, theta, moved) < EXACT
    assert moves_at_all or name == "one layer"


@pytest.mark.parametrize("name", CASES)
def test_uncoupled_permutations_change_the_function(name: str) -> None:
    template, graph, x = made(name)
    theta, tried = weights(template), 0
    for incidence in incidences(graph):
        for seed in range(5):
            moves = random_automorphism(graph, np.random.default_rng(seed))
            stays = (np.diff(moves[incidence.group]) == 1).all()
            if not stays:
                break
        if stays or without_influence(name, template, incidence):
            continue
        moved = act(graph, moves, theta, leave=incidence)
        assert change(template, x, theta, moved) > 1e-6, incidence
        tried += 1
    assert tried or name == "one layer"


@pytest.mark.parametrize("name", CASES)
def test_inputs_and_outputs_stay_and_hidden_layers_move(name: str) -> None:
    _, graph, _ = made(name)
    targets = {block.target for block in graph.blocks} | {link.target for link in graph.links}
    sources = {block.source for block in graph.blocks} | {link.source for link in graph.links}
    sources |= {link.target for link in graph.links if link.kind == ALIGN}  # it joins both ways
    for group in graph.groups:
        ends = group.name not in targets or group.name not in sources
        assert group.fixed == (ends or (name == "batch statistics" and group.name == "1")), group.name


def test_an_edge_carries_the_weight_that_joins_its_neurons() -> None:
    """Behind a flatten, the numbers on the edge of channel c are its H·W places."""
    template, graph, _ = made("cnn")
    theta = template.split(torch.arange(template.n_slots)[None])
    blocks = dict(zip([block.tensor for block in graph.blocks], graph.to_blocks(theta)[0], strict=True))
    assert torch.equal(blocks["0.weight"][0, 1, 2], theta["0.weight"][0, 2, 1].flatten())
    assert torch.equal(blocks["6.weight"][0, 3, 1], theta["6.weight"][0, 1].view(4, 2, 2)[3].flatten())


def test_a_sequential_gives_the_graph_of_the_built_in_template() -> None:
    sizes = (3, 5, 4, 2)
    layers = [nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)]
    ours, built_in = NeuralGraph.from_module(nn.Sequential(*layers)), from_template(Mlp(sizes))
    assert [(g.size, g.fixed, g.bias is None) for g in ours.groups] == [
        (g.size, g.fixed, g.bias is None) for g in built_in.groups
    ]

    def ends(graph: NeuralGraph) -> list[tuple[int, ...]]:
        names = [group.name for group in graph.groups]
        return [(names.index(b.source), names.index(b.target), b.channels, b.paired) for b in graph.blocks]

    assert ends(ours) == ends(built_in)
    assert ours.links == built_in.links == ()


def test_the_order_of_the_batch_axes_of_a_stream_is_free() -> None:
    """Features may lie on any axis between layers, as long as each layer reads them."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.first(x)).movedim(-1, 0).unsqueeze(1)
            h = h.squeeze(1).movedim(0, -1).mT.mT
            return self.second(h.sum(dim=1) / h.shape[1])

    graph = NeuralGraph.from_module(Turned(), torch.zeros(2, 5, 3))
    assert [(g.name, g.fixed) for g in graph.groups] == [("x", True), ("first", False), ("second", True)]


def test_tracing_leaves_the_random_numbers_and_the_module_as_they_were() -> None:
    module, x = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)), torch.randn(5, 3)
    before, state = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    NeuralGraph.from_module(module, x)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize("name", ["cnn", "resnet", "encoder, norm first"])
def test_drawing_names_every_layer(name: str) -> None:
    template, graph, _ = made(name)
    svg = draw(graph, tables(graph, template), name)
    assert all(group.name in svg for group in graph.groups)
    assert all(block.tensor in svg for block in graph.blocks)


LAYERS = st.lists(st.tuples(st.sampled_from(["conv", "norm", "pool", "act"]), st.integers(1, 4)), max_size=5)


@settings(max_examples=25)
@given(LAYERS, st.booleans())
def test_any_convolutional_stack_has_the_symmetries_that_its_graph_claims(
    layers: list[tuple[str, int]], batch_norm: bool
) -> None:
    torch.manual_seed(0)
    size, stack = 2, []
    for kind, width in layers:
        if kind == "conv":
            stack.append(nn.Conv2d(size, width, 3, padding=1))
            size = width
        elif kind == "norm":
            stack.append(nn.BatchNorm2d(size, track_running_stats=False) if batch_norm else nn.GroupNorm(1, size))
        else:
            stack.append(nn.AvgPool2d(2, 1) if kind == "pool" else nn.Tanh())
    side = 7 - sum(kind == "pool" for kind, _ in layers)
    module, x = nn.Sequential(*stack, nn.Flatten(), nn.Linear(size * side**2, 2)), torch.randn(4, 2, 7, 7)
    template = ModuleTemplate(module, x)
    graph, theta = from_template(template), weights(template)
    moved = act(graph, random_automorphism(graph, np.random.default_rng(0)), theta)
    assert change(template, (doubled(x),), theta, moved) < EXACT
