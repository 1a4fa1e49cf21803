"""Every symmetry that a graph claims leaves the function alone; every uncoupled permutation changes it."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from networkx.algorithms.isomorphism import MultiDiGraphMatcher

from pipeline.graph import from_template
from pipeline.graph.symmetries import Permutations, act, incidences, random_automorphism
from pipeline.graph.views import tables, to_networkx
from pipeline.templates import Mlp, Template, Theta, Transformer, TransformerConfig

TEMPLATES: dict[str, Template] = {
    "sumfirst": Mlp((10, 16, 1)),
    "deep mlp": Mlp((3, 5, 4, 2)),
    "addmod": Transformer(TransformerConfig(11, 2, 1, 16, 2, 12, False, True, False, 100.0)),
    "arc1d": Transformer(TransformerConfig(10, 12, 6, 12, 3, 10, True, False, True, 3.0)),
}
EXACT = 1e-9


def weights(template: Template) -> Theta:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(2, template.n_slots, generator=generator, dtype=torch.float64) * 0.5
    return template.split(flat)


def inputs(template: Template) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if isinstance(template, Mlp):
        return torch.randn(2, 20, template.sizes[0], generator=generator, dtype=torch.float64)
    config = template.config
    return torch.randint(0, config.d_vocab, (2, 20, config.n_ctx), generator=generator)


def change(template: Template, moved: Theta) -> float:
    x = inputs(template)
    return float((template.forward(moved, x) - template.forward(weights(template), x)).abs().max())


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("seed", range(5))
def test_automorphisms_leave_the_function_unchanged(name: str, seed: int) -> None:
    template = TEMPLATES[name]
    graph, theta = from_template(template), weights(template)
    moved = act(graph, random_automorphism(graph, np.random.default_rng(seed)), theta)
    assert any(not torch.equal(moved[key], theta[key]) for key in theta)
    assert change(template, moved) < EXACT


@pytest.mark.parametrize("name", TEMPLATES)
def test_uncoupled_permutations_change_the_function(name: str) -> None:
    template = TEMPLATES[name]
    graph, theta = from_template(template), weights(template)
    rng = np.random.default_rng(0)
    for incidence in incidences(graph):
        moves = random_automorphism(graph, rng)
        while (np.diff(moves[incidence.group]) == 1).all() and not graph.group(incidence.group).fixed:
            moves = random_automorphism(graph, rng)
        moved = act(graph, moves, theta, leave=incidence)
        if graph.group(incidence.group).fixed or incidence.tensor == "b_K":
            # A key's bias adds the same to every score of a query, and softmax ignores it.
            continue
        assert change(template, moved) > 1e-6, incidence


@pytest.mark.parametrize("name", TEMPLATES)
def test_fixed_nodes_may_not_move(name: str) -> None:
    template = TEMPLATES[name]
    graph, theta = from_template(template), weights(template)
    for group in graph.groups:
        if group.fixed and group.size > 1:
            moves: Permutations = {g.name: np.arange(g.size) for g in graph.groups}
            moves[group.name] = np.roll(moves[group.name], 1)
            assert change(template, act(graph, moves, theta)) > 1e-6, group.name


@pytest.mark.parametrize("name", TEMPLATES)
def test_random_automorphisms_are_automorphisms_of_the_typed_graph(name: str) -> None:
    template = TEMPLATES[name]
    graph = from_template(template)
    network = typed(template)
    moves = random_automorphism(graph, np.random.default_rng(3))
    relabelled = nx.relabel_nodes(network, {node: move(graph, moves, network.nodes[node]) for node in network})
    assert edges(relabelled) == edges(network)


def move(graph, moves: Permutations, node: dict) -> int:
    first = 0
    for group in graph.groups:
        if group.name == node["group"]:
            return first + int(moves[group.name][node["index"]])
        first += group.size
    raise KeyError(node["group"])


def edges(network: nx.MultiDiGraph) -> set[tuple[int, int, str, str]]:
    return {(s, t, d["kind"], d["tensor"]) for s, t, d in network.edges(data=True)}


def typed(template: Template) -> nx.MultiDiGraph:
    return to_networkx(tables(from_template(template), template))


@pytest.mark.parametrize(
    ("template", "order"),
    [
        (Mlp((2, 3, 1)), 6),
        # heads · within V · within Q and K · mlp; V is joined to the stream without an output projection
        (Transformer(TransformerConfig(2, 2, 1, 4, 2, 2, False, True, False, 1.0)), 2 * 4 * 4 * 2),
        # the same with a stream of its own: 3! more
        (Transformer(TransformerConfig(2, 4, 2, 3, 1, 2, True, False, True, 1.0)), 6 * 6 * 6 * 2),
    ],
)
def test_all_automorphisms_of_a_small_graph(template: Template, order: int) -> None:
    """networkx finds them all by search: as many as the theory says, and each leaves the function unchanged."""
    network = typed(template)

    def same_node(a: dict, b: dict) -> bool:
        return a["group"] == b["group"] and (not a["fixed"] or a["index"] == b["index"])

    def same_edges(a: dict, b: dict) -> bool:
        return sorted((e["kind"], e["tensor"]) for e in a.values()) == sorted(
            (e["kind"], e["tensor"]) for e in b.values()
        )

    found = list(MultiDiGraphMatcher(network, network, same_node, same_edges).isomorphisms_iter())
    assert len(found) == order
    graph = from_template(template)
    for mapping in found:
        moves = {}
        first = 0
        for group in graph.groups:
            moves[group.name] = np.array([mapping[first + i] - first for i in range(group.size)])
            first += group.size
        assert change(template, act(graph, moves, weights(template))) < EXACT
