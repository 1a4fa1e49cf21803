"""The nodes-and-edges view of a neural graph: tables, and networkx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from pipeline.graph.neural_graph import PASS_THRU, Link, NeuralGraph, NodeGroup
from pipeline.templates import Template

WEIGHT = "weight"


@dataclass(frozen=True)
class Tables:
    """nodes: node, group, index, fixed, bias, slot. edges: source, target, kind, tensor, slot.

    `slot` counts the scalars of θ in the order of the template, −1 where there is no parameter. An edge
    of several numbers (a convolution's kernel) has a row for each.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame

    def parquet(self) -> dict[str, pa.Table]:
        """Both as Arrow tables without pandas metadata."""
        tables = {"nodes": self.nodes, "edges": self.edges}
        return {name: pa.Table.from_pandas(table, preserve_index=False) for name, table in tables.items()}


def tables(graph: NeuralGraph, template: Template) -> Tables:
    """Every node and every edge of the graph, with the slot of θ that it carries."""
    slots = torch.arange(template.n_slots, dtype=torch.int64)[None]
    weights, biases = graph.to_blocks(template.split(slots))
    first = dict(zip([g.name for g in graph.groups], np.cumsum([0, *(g.size for g in graph.groups)]), strict=False))
    nodes = []
    for group in graph.groups:
        slot = biases[group.name][0].numpy() if group.bias else np.full(group.size, -1)
        index = np.arange(group.size)
        nodes.append(_frame(node=first[group.name] + index, group=group.name, index=index,
                            fixed=group.fixed, bias=group.bias or "", slot=slot))  # fmt: skip
    edges = []
    for block, weight in zip(graph.blocks, weights, strict=True):
        i, j, _ = np.indices(weight.shape[1:]).reshape(3, -1)
        j = i if block.paired else j
        edges.append(_frame(source=first[block.source] + i, target=first[block.target] + j,
                            kind=WEIGHT, tensor=block.tensor, slot=weight.reshape(-1).numpy()))  # fmt: skip
    for link in graph.links:
        i, j = _ends(link, graph.group(link.source), graph.group(link.target))
        edges.append(_frame(source=first[link.source] + i, target=first[link.target] + j,
                            kind=link.kind, tensor="", slot=-1))  # fmt: skip
    return Tables(pd.concat(nodes, ignore_index=True), pd.concat(edges, ignore_index=True))


def _frame(**columns: Any) -> pd.DataFrame:
    size = max(np.size(column) for column in columns.values())
    return pd.DataFrame({name: np.broadcast_to(np.asarray(c), (size,)) for name, c in columns.items()})


def _ends(link: Link, source: NodeGroup, target: NodeGroup) -> tuple[np.ndarray, np.ndarray]:
    """Node indices that a link joins: one to one, or each head's neurons with the head's score node."""
    if link.kind != PASS_THRU:
        return np.arange(source.size), np.arange(target.size)
    wide = source if len(source.shape) > 1 else target
    neurons = np.arange(wide.size)
    heads = neurons // wide.shape[1]
    return (neurons, heads) if wide is source else (heads, neurons)


def to_networkx(view: Tables) -> nx.MultiDiGraph:
    """The graph for networkx, with the tables' columns as attributes."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from((row["node"], row) for row in view.nodes.to_dict("records"))
    graph.add_edges_from((row["source"], row["target"], row) for row in view.edges.to_dict("records"))
    return graph
