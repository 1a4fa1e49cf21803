"""meta_gnn computed edge by edge with torch-geometric, from the same parameters: an oracle and a peer to time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import scatter, softmax

from pipeline.graph.views import WEIGHT, tables
from pipeline.learners.message_passing import Message, Round
from pipeline.learners.meta_gnn import MetaGnn


class SparseMetaGnn:
    """The same θ as `learner.slots(u)` from lists of nodes and edges.

    Reads the graph in its other view (`pipeline.graph.views`), one row a node and one row an edge;
    K intents are K disjoint copies of the graph, as torch-geometric batches graphs.
    """

    def __init__(self, learner: MetaGnn) -> None:
        self.learner = learner
        view = tables(learner.graph, learner.template)
        edges = view.edges
        carried = {link.kind for link in learner.passing.links}
        weights, links = edges[edges["kind"] == WEIGHT], edges[edges["kind"].isin(carried)]
        self.source, self.target = (_index(weights[end]) for end in ("source", "target"))
        self.link_source, self.link_target = (_index(links[end]) for end in ("source", "target"))
        self.link_kind = list(links["kind"])
        self.node_slot, self.edge_slot = _index(view.nodes["slot"]), _index(weights["slot"])
        self.bias, self.tensor = list(view.nodes["bias"]), list(weights["tensor"])
        self.n_nodes = len(view.nodes)

    def slots(self, u: Tensor) -> Tensor:
        """Slots [K, T] from intent codes u [K, d_u]."""
        learner = self.learner
        nodes, edges = (h.flatten(0, 1) for h in learner.embed(u))  # [K·N, d], [K·E, d]
        copies, d = nodes.shape[0] // self.n_nodes, nodes.shape[1]
        links = torch.stack([learner.passing.kinds[kind] for kind in self.link_kind]) if self.link_kind else None
        for each in learner.passing.in_turn:
            nodes, edges = self._round(each, nodes, edges, links, copies)
        decoded = self._decode(nodes.view(copies, -1, d), edges.view(copies, -1, d))
        if learner.rank:
            decoded = learner.mixer(u, decoded[0].T)
        else:
            decoded = decoded[:, :, 0]
        return decoded + learner.theta0 if hasattr(learner, "theta0") else decoded

    def _round(
        self, each: Round, nodes: Tensor, edges: Tensor, links: Tensor | None, copies: int
    ) -> tuple[Tensor, Tensor]:
        bidirectional = self.learner.passing.bidirectional
        source, target = self._copied(self.source, copies), self._copied(self.target, copies)
        parts = [_hidden(each.forth, nodes, target, source, edges)]
        if bidirectional:
            parts.append(_hidden(each.back, nodes, source, target, edges))
        if links is not None:
            a, b = self._copied(self.link_source, copies), self._copied(self.link_target, copies)
            kinds = links.repeat(copies, 1)
            parts.append(_hidden(each.forth, nodes, b, a, kinds))
            if bidirectional:
                parts.append(_hidden(each.back, nodes, a, b, kinds))
        receiver, hidden, score = (torch.cat(column) for column in zip(*parts, strict=True))
        new = each.update_node(nodes, _aggregate(each.forth, receiver, hidden, score, len(nodes)))
        heard = torch.zeros(len(nodes), dtype=torch.bool).index_fill(0, receiver, True)
        nodes = torch.where(heard[:, None], new, nodes)
        return nodes, each.update_edge(edges, nodes[source], nodes[target])

    def _copied(self, index: Tensor, copies: int) -> Tensor:
        return (index + self.n_nodes * torch.arange(copies)[:, None]).flatten()

    def _decode(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Decoded numbers [K, T, R + 1] in the order of slots."""
        out = nodes.new_zeros(len(nodes), self.learner.template.n_slots, self.learner.rank + 1)
        for name in (tensor.name for tensor in self.learner.template.tensors):
            decoder = self.learner.decoder(name)
            for slots, owners, h in ((self.node_slot, self.bias, nodes), (self.edge_slot, self.tensor, edges)):
                mine = torch.tensor([owner == name for owner in owners])
                if mine.any():
                    out = out.index_copy(1, slots[mine], decoder(h[:, mine]))
        return out


def _hidden(
    message: Message, nodes: Tensor, receiver: Tensor, sender: Tensor, edge: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For each edge its receiver, the hidden layer of its message, and its score."""
    hidden = message.act(message.receiver(nodes[receiver]) + message.sender(nodes[sender]) + message.edge(edge))
    return receiver, hidden, message.score(hidden)


def _aggregate(message: Message, receiver: Tensor, hidden: Tensor, score: Tensor, n: int) -> Tensor:
    """Every message written out by the second layer, then summed by receiver."""
    values = message.out(hidden)
    if message.aggregation == "attn":
        return scatter(softmax(score, receiver, num_nodes=n) * values, receiver, dim_size=n, reduce="sum")
    return scatter(values, receiver, dim_size=n, reduce="mean" if message.aggregation == "avg" else "sum")


def _index(column: object) -> Tensor:
    return torch.tensor(list(column), dtype=torch.int64)  # type: ignore[call-overload]
