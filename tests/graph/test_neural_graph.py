"""Neural graphs: sizes, the two views of one object, drawing."""

from __future__ import annotations

from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pytest
import torch

from pipeline.graph import from_template
from pipeline.graph.draw import MOST_NEURONS, draw
from pipeline.graph.views import WEIGHT, tables, to_networkx
from pipeline.templates import Mlp, Template, Transformer, TransformerConfig

ADDMOD = TransformerConfig(97, 2, 1, 16, 2, 64, False, True, False, 100.0)
ARC1D = TransformerConfig(10, 140, 70, 32, 2, 128, True, False, True, 3.0)


@pytest.mark.parametrize(
    ("template", "nodes", "weight_edges"),
    [
        (Mlp((10, 16, 1)), 27, 176),
        (Transformer(ADDMOD), 97 + 16 + 3 * 16 + 2 + 16 + 64 + 16 + 97, 6048 - 48 - 64 - 16),
        (Transformer(ARC1D), 10 + 140 + 32 + 3 * 32 + 2 + 32 + 128 + 32 + 10, 17568 - 128 - 32),
    ],
)
def test_counts(template: Template, nodes: int, weight_edges: int) -> None:
    graph = from_template(template)
    assert (graph.n_nodes, graph.n_weight_edges) == (nodes, weight_edges)


@pytest.mark.parametrize("template", [Mlp((3, 5, 4, 2)), Transformer(ADDMOD), Transformer(ARC1D)])
def test_blocks_hold_every_slot_once_and_give_theta_back(template: Template) -> None:
    graph = from_template(template)
    theta = template.split(torch.arange(2 * template.n_slots).view(2, -1))
    weights, biases = graph.to_blocks(theta)
    seen = torch.cat([w.flatten() for w in weights] + [b.flatten() for b in biases.values()])
    assert sorted(seen.tolist()) == list(range(2 * template.n_slots))
    back = graph.from_blocks(weights, biases)
    assert all(torch.equal(back[name], theta[name]) for name in theta)


@pytest.mark.parametrize("template", [Mlp((10, 16, 1)), Transformer(ADDMOD)])
def test_tables_and_networkx_hold_every_slot_once(template: Template) -> None:
    graph = from_template(template)
    view = tables(graph, template)
    slots = np.concatenate([view.nodes["slot"], view.edges["slot"]])
    assert sorted(slots[slots >= 0]) == list(range(template.n_slots))
    network = to_networkx(view)
    assert network.number_of_nodes() == graph.n_nodes
    assert sum(kind == WEIGHT for _, _, kind in network.edges(data="kind")) == graph.n_weight_edges
    assert nx.is_weakly_connected(network)


def test_an_edge_carries_the_weight_that_joins_its_neurons() -> None:
    template = Transformer(ADDMOD)
    view = tables(from_template(template), template)
    index = {name: torch.arange(template.n_slots)[None] for name in ["all"]}["all"]
    slots = template.split(index)
    nodes = view.nodes.set_index("node")
    queries = view.edges[view.edges["tensor"] == "W_Q"]
    for edge in queries.sample(20, random_state=0).itertuples():
        model, query = nodes.loc[edge.source, "index"], nodes.loc[edge.target, "index"]
        head, dimension = divmod(query, 8)
        assert slots["W_Q"][0, head, model, dimension] == edge.slot


def test_parquet_has_plain_columns() -> None:
    template = Mlp((2, 3, 1))
    view = tables(from_template(template), template).parquet()
    assert view["nodes"].column_names == ["node", "group", "index", "fixed", "bias", "slot"]
    assert view["edges"].column_names == ["source", "target", "kind", "tensor", "slot"]


@pytest.mark.parametrize("template", [Mlp((10, 16, 1)), Transformer(ADDMOD), Transformer(ARC1D)])
def test_drawing_is_valid_names_everything_and_repeats(template: Template) -> None:
    graph = from_template(template)
    view = tables(graph, template)
    svg = draw(graph, view, "a <title>")
    root = ElementTree.fromstring(svg)
    assert svg == draw(from_template(template), view, "a <title>")
    text = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    assert all(group.name in text for group in graph.groups)
    assert all(block.tensor in text for block in graph.blocks)
    if graph.n_nodes <= MOST_NEURONS:
        circles = len(list(root.iter("{http://www.w3.org/2000/svg}circle")))
        squares = len(list(root.iter("{http://www.w3.org/2000/svg}rect")))
        assert circles + squares == graph.n_nodes
