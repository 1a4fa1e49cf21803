"""meta_gnn: the structure-aware hypernetwork, message passing on the template's neural graph (§4.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.graph import from_template
from pipeline.learners.base import Head, MetaLearner
from pipeline.learners.layers import mlp, slot_codes
from pipeline.learners.message_passing import MessagePassing
from pipeline.params import MetaGnn as Settings
from pipeline.programs import Family
from pipeline.templates import Template

# Spread of the learned slot codes: without it, or much smaller, the long plateau on addmod stays.
CODE_SPREAD = 0.5


class Encoder(nn.Module):
    """h⁰ = f([U ‖ p]; φ_enc) for the slots of one or more groups, plus a learned code where there is one.

    The first layer acts on intent and positional code apart and adds, as in `SlotMlp`.
    """

    def __init__(self, d_u: int, d_code: int, width: int, d: int, activation: str) -> None:
        super().__init__()
        self.d_u = d_u
        self.network = mlp([d_u + d_code, width, d], activation)

    def forward(self, u: Tensor, code: Tensor) -> Tensor:
        """u [K, d_u] (d_u may be 0) and code [T, d_p] give [K, T, d]."""
        first = self.network[0]
        assert isinstance(first, nn.Linear)
        from_code = code @ first.weight[:, self.d_u :].T + first.bias  # [T, w]
        total = from_code[None]
        if self.d_u:
            total = total + (u @ first.weight[:, : self.d_u].T)[:, None]  # [K, T, w]
        out: Tensor = self.network[1:](total)
        return out


class MetaGnn(MetaLearner):
    """Encodes every node and edge, passes messages, decodes each bias from its node and each weight from its edge.

    intent_rank 0 (*message*, the paper's): the intent enters every encoder, and each slot decodes to
    its value, θ_t(u) = θ₀,t + w_t(u).
    intent_rank R (*factored*): messages pass once, without the intent; each slot decodes to R + 1
    coefficients, and a small network h of the intent mixes them,
    θ_t(u) = θ₀,t + c₀,t + Σ_r h_r(u) c_r,t. The cost does not grow with the number of intents.
    """

    theta0: Tensor

    def __init__(self, family: Family | None, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template, settings.spread)
        self.graph, self.rank = from_template(template), settings.intent_rank
        d, width, activation = settings.d_h, settings.width, settings.activation
        codes = self._codes(settings)
        for i, code in enumerate(codes):
            self.register_buffer(f"code_{i}", code)
        learned = codes if settings.init_mode == "all" else []
        self.learned = nn.ParameterList(torch.randn(len(code), d) * CODE_SPREAD for code in learned)
        distinct = codes[:1] if settings.init_mode == "global" else codes
        d_in = 0 if self.rank else d_u
        self.encoders = nn.ModuleList(Encoder(d_in, code.shape[1], width, d, activation) for code in distinct)
        self.passing = MessagePassing(self.graph, settings)
        self.channels = {block.tensor: block.channels for block in self.graph.blocks}
        self.decoders = nn.ModuleDict(
            {
                _key(t.name): mlp([d, width, (self.rank + 1) * self.channels.get(t.name, 1)], activation)
                for t in template.tensors
            }
        )
        if self.rank:
            self.mixer = mlp([d_u, *settings.intent_hidden, self.rank], activation)
        if settings.theta0:
            self.register_buffer("theta0", torch.zeros(template.n_slots))

    def _codes(self, settings: Settings) -> list[Tensor]:
        """Positional codes [T, d_p] of every node group, then of every edge block: source beside target."""
        nodes = {g.name: slot_codes(g.axes, settings.fourier, settings.fourier_ordered) for g in self.graph.groups}
        codes = list(nodes.values())
        for block in self.graph.blocks:
            source, target = nodes[block.source], nodes[block.target]
            if block.paired:
                codes.append(torch.cat([source, target], -1))  # [s, d_p]
                continue
            pairs = [source[:, None].expand(-1, len(target), -1), target[None].expand(len(source), -1, -1)]
            codes.append(torch.cat(pairs, -1).flatten(0, 1))  # [s·t, d_p]
        if settings.init_mode != "global":
            return codes
        widest = max(code.shape[1] for code in codes)
        return [F.pad(code, (0, widest - code.shape[1])) for code in codes]

    def embed(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """h⁰ of all nodes [K, N, d] and all edges [K, E, d]; K = 1 where the intent does not enter."""
        embedded = []
        for i in range(len(self.graph.groups) + len(self.graph.blocks)):
            h = self.encoders[i % len(self.encoders)](u, getattr(self, f"code_{i}"))
            embedded.append(h + self.learned[i] if self.learned else h)
        n_groups = len(self.graph.groups)
        return torch.cat(embedded[:n_groups], 1), torch.cat(embedded[n_groups:], 1)

    def decoder(self, tensor: str) -> nn.Module:
        """The decoder of a tensor's slots."""
        return self.decoders[_key(tensor)]

    def decode(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Decoded numbers of every slot [K, R + 1, T]."""
        by_block = zip(self.graph.blocks, self.passing.blocks(edges), strict=True)
        by_group = self.passing.groups(nodes)
        k, r = nodes.shape[0], self.rank + 1
        weights = [self.decoder(b.tensor)(h).unflatten(-1, (r, b.channels)) for b, h in by_block]  # [K, s, t, r, c]
        biases = {g.name: self.decoder(g.bias)(by_group[g.name]) for g in self.graph.groups if g.bias}  # [K, n, r]
        theta = self.graph.from_blocks(
            [w.permute(0, 3, 1, 2, 4).flatten(0, 1) for w in weights],  # [K·r, s, t, c]
            {name: b.transpose(1, 2).flatten(0, 1) for name, b in biases.items()},  # [K·r, n]
        )
        return self.template.flatten(theta).view(k, r, -1)

    def slots(self, u: Tensor) -> Tensor:
        decoded = self.decode(*self.passing(*self.embed(u)))
        if self.rank:
            mixed = decoded[0, 0] + self.mixer(u) @ decoded[0, 1:]  # [K, T]
        else:
            mixed = decoded[:, 0]
        return mixed + self.theta0 if hasattr(self, "theta0") else mixed

    def heads(self) -> Iterator[Head]:
        for tensor in self.template.tensors:
            last = list(self.decoder(tensor.name).children())[-1]
            assert isinstance(last, nn.Linear)
            yield Head(last, slice(None), slice(0, self.channels.get(tensor.name, 1)))


def _key(tensor: str) -> str:
    """A tensor's name as torch allows it for a submodule, without dots."""
    return tensor.replace(".", "/")


Learner = MetaGnn
