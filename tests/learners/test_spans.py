"""The spans of a graph's edges: walked node by node, they are all its edges, each once from either end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.graph import EdgeBlock, Link, NeuralGraph, NodeGroup, from_template
from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL
from pipeline.graph.views import WEIGHT, tables
from pipeline.learners.message_passing.spans import Spans, spans_of
from pipeline.params import Params
from pipeline.templates import Axis, make_template
from tests.learners.test_meta_gnn import FAMILIES

Joins = Sequence[tuple[str, str]]


def made(
    sizes: dict[str, int], dense: Joins = (), paired: Joins = (), links: Joins = (), kind: str = PASS_THRU
) -> NeuralGraph:
    """A graph of groups of these sizes, joined by blocks and links; blocks that are dense come first."""
    groups = tuple(NodeGroup(name, (Axis(name, size),)) for name, size in sizes.items())
    blocks = [EdgeBlock(f"{s}-{t}", s, t, (0, 1)) for s, t in dense]
    blocks += [EdgeBlock(f"{s}={t}", s, t, (0,), paired=True) for s, t in paired]
    return NeuralGraph(groups, tuple(blocks), tuple(Link(kind, s, t) for s, t in links))


def edges_of(graph: NeuralGraph, links: Sequence[Link]) -> list[tuple[int, int]]:
    """Source and target of every edge, one by one in their order."""
    numbers = itertools.count()
    nodes = {group.name: [next(numbers) for _ in range(group.size)] for group in graph.groups}
    edges: list[tuple[int, int]] = []
    for block in graph.blocks:
        sources, targets = nodes[block.source], nodes[block.target]
        edges += zip(sources, targets, strict=True) if block.paired else itertools.product(sources, targets)
    for link in links:
        sources, targets = nodes[link.source], nodes[link.target]
        if len(sources) < len(targets):
            each = len(targets) // len(sources)
            edges += [(source, targets[i * each + k]) for i, source in enumerate(sources) for k in range(each)]
        else:
            each = len(sources) // len(targets)
            edges += [(sources[j * each + k], target) for j, target in enumerate(targets) for k in range(each)]
    return edges


def walked(spans: Spans, table: int) -> list[tuple[int, int, int]]:
    """Each edge with the node where it was met and its other end, as the kernels meet them."""
    rows = spans.spans.tolist()
    return [
        (edge + i * step, node, other + i)
        for node, (begin, end) in enumerate(itertools.pairwise(spans.starts[table].tolist()))
        for edge, step, other, count in rows[begin:end]
        for i in range(count)
    ]


def assert_all_edges_once(spans: Spans, n_nodes: int, edges: Sequence[tuple[int, int]]) -> None:
    """Into every node and out of it; and their counts."""
    expected = [(edge, source, target) for edge, (source, target) in enumerate(edges)]
    assert sorted((edge, source, target) for edge, target, source in walked(spans, 0)) == expected
    assert sorted(walked(spans, 1)) == expected
    into, out_of = spans.starts.tolist()
    assert len(into) == len(out_of) == n_nodes + 1
    assert (into[0], into[-1], out_of[-1]) == (0, out_of[0], len(spans.spans))
    ends = torch.tensor(edges).T.flip(0)
    assert torch.equal(spans.counts(), torch.stack([end.bincount(minlength=n_nodes) for end in ends]))


def test_a_dense_block_is_rows_and_columns() -> None:
    spans = spans_of(made({"s": 2, "t": 3}, [("s", "t")]), [])
    assert spans.starts.tolist() == [[0, 0, 0, 1, 2, 3], [3, 4, 5, 5, 5, 5]]
    # Edge 3 i + j is of source i and target 2 + j.
    assert spans.spans.tolist() == [[0, 3, 0, 2], [1, 3, 0, 2], [2, 3, 0, 2], [0, 1, 2, 3], [3, 1, 2, 3]]
    assert spans.counts().tolist() == [[0, 0, 2, 2, 2], [3, 3, 0, 0, 0]]


def test_a_paired_block_has_one_edge_at_each_node() -> None:
    spans = spans_of(made({"s": 2, "t": 2}, paired=[("s", "t")]), [])
    assert spans.starts.tolist() == [[0, 0, 0, 1, 2], [2, 3, 4, 4, 4]]
    assert spans.spans.tolist() == [[0, 1, 0, 1], [1, 1, 1, 1], [0, 1, 2, 1], [1, 1, 3, 1]]


@pytest.mark.parametrize("turned", [False, True])
def test_a_link_shares_the_larger_group_evenly(turned: bool) -> None:
    """Four neurons of two heads, nodes 0 to 3, and the heads, nodes 4 and 5: edge i is neuron i's."""
    graph = made({"wide": 4, "heads": 2}, links=[("heads", "wide") if turned else ("wide", "heads")])
    spans = spans_of(graph, graph.links)
    of_heads, of_neurons = [[0, 1, 0, 2], [2, 1, 2, 2]], [[i, 1, 4 + i // 2, 1] for i in range(4)]
    assert spans.spans.tolist() == (of_neurons + of_heads if turned else of_heads + of_neurons)
    counts = [[0, 0, 0, 0, 2, 2], [1, 1, 1, 1, 0, 0]]
    assert spans.counts().tolist() == (counts[::-1] if turned else counts)


def test_edges_are_numbered_block_after_block_then_links() -> None:
    graph = made({"a": 1, "b": 2, "c": 2}, [("a", "b"), ("b", "c")], [("b", "c")], [("a", "c")])
    first = [[rows[0] for rows in spans_of(graph, links).spans.tolist()] for links in (graph.links, [])]
    assert sorted({*first[0]}) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert sorted({*first[1]}) == [0, 1, 2, 3, 4, 6, 7]


def test_they_move_to_a_device() -> None:
    spans = spans_of(made({"s": 2, "t": 3}, [("s", "t")]), [])
    moved = spans.to(torch.device("meta"))
    assert moved.starts.is_meta and moved.spans.is_meta
    assert {spans.starts.dtype, spans.spans.dtype} == {torch.int32}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("carried", [(), (RESIDUAL,), (ALIGN, PASS_THRU), (RESIDUAL, ALIGN, PASS_THRU)])
def test_they_are_the_rows_of_the_table_of_edges(params: Params, family: str, carried: tuple[str, ...]) -> None:
    template = make_template(params, family)
    graph = from_template(template)
    links = [link for link in graph.links if link.kind in carried]
    rows = tables(graph, template).edges
    rows = rows[rows["kind"].isin([WEIGHT, *carried])]
    edges = list(zip(rows["source"].tolist(), rows["target"].tolist(), strict=True))
    assert edges == edges_of(graph, links)
    spans = spans_of(graph, links)
    assert_all_edges_once(spans, graph.n_nodes, edges)
    # A block or a link has one at each node.
    ends = [name for join in (*graph.blocks, *links) for name in (join.source, join.target)]
    assert len(spans.spans) == sum(graph.group(name).size for name in ends)


@st.composite
def graphs(draw: st.DrawFn) -> NeuralGraph:
    """A few small groups with any joins that their sizes allow, loops among them, dense and paired blocks mixed."""
    sizes = {
        f"{i}": size for i, size in enumerate(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)))
    }
    pairs = list(itertools.product(sizes, repeat=2))
    equal = [(s, t) for s, t in pairs if sizes[s] == sizes[t]]
    even = [(s, t) for s, t in pairs if max(sizes[s], sizes[t]) % min(sizes[s], sizes[t]) == 0]
    kinds = made(sizes, pairs).blocks + made(sizes, paired=equal).blocks
    blocks = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    links = draw(st.lists(st.sampled_from(made(sizes, links=even).links), max_size=5))
    return NeuralGraph(made(sizes).groups, tuple(blocks), tuple(links))


@given(graphs(), st.data())
def test_all_edges_of_any_graph_are_met_once_from_either_end(graph: NeuralGraph, data: st.DataObject) -> None:
    links = [link for link in graph.links if data.draw(st.booleans())]
    assert_all_edges_once(spans_of(graph, links), graph.n_nodes, edges_of(graph, links))
