"""meta_gnn: the structure-aware hypernetwork, message passing on the template's neural graph (§4.3)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.graph import from_template
from pipeline.learners.base import Head, MetaLearner
from pipeline.learners.layers import BandLimit, apart, codes_of, mlp
from pipeline.learners.message_passing import MessagePassing
from pipeline.learners.relations import Relation, relation
from pipeline.learners.tiled import TiledMlps
from pipeline.params import MetaGnn as Settings
from pipeline.programs import Family
from pipeline.templates import Axis, Template

# Spread of the learned slot codes: without it, or much smaller, the long plateau on addmod stays.
CODE_SPREAD = 0.5


class Encoder(nn.Module):
    """h⁰ = f([U ‖ p ‖ r(U)]; φ_enc) for the slots of one or more groups; d_u = 0 where the intent does not enter."""

    def __init__(self, d_in: int, width: int, d: int, activation: str) -> None:
        super().__init__()
        with warnings.catch_warnings():
            # A group of one node has no positional code, and without the intent its encoder reads nothing.
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.network = mlp([d_in, width, d], activation)

    def forward(self, u: Tensor, code: Tensor, related: Relation | None) -> Tensor:
        """u [K, d_u] and code [T, d_p] give [K, T, d]."""
        first = self.network[0]
        assert isinstance(first, nn.Linear)
        out: Tensor = self.network[1:](apart(first, u, code, related))
        return out


class IntentMixer(nn.Module):
    """θ_t(u) − θ₀,t = c₀,t + Σ_r h_r(u) c_r,t by a small network h of the intent.

    The slots of a tensor that has a relational code have networks of their own, h_r(u, r_t(u)), to which a linear
    map of r_t(u) is added: an MLP alone starts nearly constant along the axis. Where such a tensor has no θ₀, fixed
    random numbers b_r, the same all along the axis, are added to c_r,t, so that the initial θ has full rank.
    """

    def __init__(self, family: Family | None, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__()
        self.template, self.rank = template, settings.intent_rank
        self.related = {t.name: relation(family, t.axes, settings) for t in template.tensors}
        mine = {name: related for name, related in self.related.items() if related is not None}
        sizes = [*settings.intent_hidden, self.rank]
        self.common = mlp([d_u, *sizes], settings.activation)
        self.own = nn.ModuleDict({name: mlp([d_u + r.width, *sizes], settings.activation) for name, r in mine.items()})
        self.straight = nn.ParameterDict(
            {name: torch.randn(r.width, self.rank) * r.width**-0.5 for name, r in mine.items()}
        )
        # The tensors whose coefficients have a fixed part.
        self.anchored = set(mine) if settings.theta0 and not settings.coordinate else set()
        for name in sorted(self.anchored):
            self.register_buffer(f"fixed_{name}", torch.zeros(self.rank, *mine[name].others))

    @torch.no_grad()
    def anchor(self, generator: torch.Generator | None) -> None:
        """Draw the fixed parts so that their θ has about its usual spread; None: set them to zero."""
        for tensor in self.template.tensors:
            if tensor.name in self.anchored:
                fixed = self.get_buffer(f"fixed_{tensor.name}")
                # Sines and cosines have variance ½, and so have their random sums.
                std = tensor.std * (2 / self.rank) ** 0.5
                fixed.copy_(
                    torch.zeros_like(fixed)
                    if generator is None
                    else torch.randn(fixed.shape, generator=generator) * std
                )

    def forward(self, u: Tensor, coefficients: Tensor) -> Tensor:
        """Intent codes u [K, d_u] and coefficients [R + 1, T] give [K, T]."""
        common = self.common(u)  # [K, R]
        if not self.own:
            mixed: Tensor = coefficients[0] + common @ coefficients[1:]
            return mixed
        pieces = zip(self.related.items(), self.template.pieces(coefficients), strict=True)
        return torch.cat(
            [
                c[0] + common @ c[1:] if related is None else self._related(u, related, name, c)
                for (name, related), c in pieces
            ],
            1,
        )

    def _related(self, u: Tensor, related: Relation, name: str, c: Tensor) -> Tensor:
        """Mixed slots [K, T_g] of one tensor from its coefficients c [R + 1, T_g]."""
        code = related.code(u)  # [K, size, r]
        h = self.own[name](torch.cat([u[:, None].expand(-1, code.shape[1], -1), code], -1))
        h = h + code @ self.straight[name]  # [K, size, R]
        weights = c[1:].T  # [T_g, R]
        if name in self.anchored:
            fixed = self.get_buffer(f"fixed_{name}").expand(-1, *related.shape)
            weights = weights + fixed.flatten(1).T  # [T_g, R]
        return c[0] + (related.over_slots(h) * weights).sum(-1)


@dataclass(frozen=True)
class Together:
    """The encoders of all groups and blocks on their positional codes [N + E, d_p], and the decoders, on one device."""

    codes: Tensor
    encoders: TiledMlps
    decoders: TiledMlps


class MetaGnn(MetaLearner):
    """Encodes every node and edge, passes messages, decodes each bias from its node and each weight from its edge.

    intent_rank 0 (*message*, the paper's): the intent enters every encoder, and each slot decodes to
    its value, θ_t(u) = θ₀,t + w_t(u).
    intent_rank R (*factored*): messages pass once, without the intent; each slot decodes to R + 1
    coefficients, and a small network h of the intent mixes them,
    θ_t(u) = θ₀,t + c₀,t + Σ_r h_r(u) c_r,t. The cost does not grow with the number of intents.
    """

    theta0: Tensor
    code_0: Tensor

    def __init__(self, family: Family | None, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template, settings)
        self.graph, self.rank = from_template(template), settings.intent_rank
        self._together: dict[tuple[torch.device, torch.dtype], Together] = {}
        d, width, activation = settings.d_h, settings.width, settings.activation
        codes = self._codes(settings)
        for i, code in enumerate(codes):
            self.register_buffer(f"code_{i}", code)
        learned = codes if settings.init_mode == "all" else []
        self.learned = nn.ParameterList(torch.randn(len(code), d) * CODE_SPREAD for code in learned)
        self.limits = nn.ModuleList(BandLimit(axes, settings, True) for axes in self._slot_axes() if learned)
        self.d_u = 0 if self.rank else d_u
        self.related = [None if self.rank else relation(family, axes, settings) for axes in self._axes()]
        widths = [code.shape[1] + (r.width if r else 0) for code, r in zip(codes, self.related, strict=True)]
        distinct = [max(widths)] if settings.init_mode == "global" else widths
        self.encoders = nn.ModuleList(Encoder(self.d_u + d_in, width, d, activation) for d_in in distinct)
        self.passing = MessagePassing(self.graph, settings)
        self.channels = {block.tensor: block.channels for block in self.graph.blocks}
        self.decoders = nn.ModuleDict(
            {
                _key(t.name): mlp([d, width, (self.rank + 1) * self.channels.get(t.name, 1)], activation)
                for t in template.tensors
            }
        )
        if self.rank:
            self.mixer = IntentMixer(family, template, settings, d_u)
        if settings.theta0:
            self.register_buffer("theta0", torch.zeros(template.n_slots))

    def _axes(self) -> list[tuple[Axis, ...]]:
        """The axes of the slots of every node group, then of every edge block: source beside target."""
        axes = {group.name: group.axes for group in self.graph.groups}
        return [*axes.values(), *(axes[block.source] + axes[block.target] for block in self.graph.blocks)]

    def _slot_axes(self) -> list[tuple[Axis, ...]]:
        """The axes along which the rows of each positional code lie: a paired block has one row for each pair."""
        axes = {group.name: group.axes for group in self.graph.groups}
        blocks = [axes[b.source] if b.paired else axes[b.source] + axes[b.target] for b in self.graph.blocks]
        return [*axes.values(), *blocks]

    def _codes(self, settings: Settings) -> list[Tensor]:
        """Positional codes [T, d_p] of every node group, then of every edge block: source beside target."""
        nodes = {g.name: codes_of(self.of_family, g.axes, settings)[0] for g in self.graph.groups}
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
        learned = [limit(code) for limit, code in zip(self.limits, self.learned, strict=True)]
        if self._at_once(u):
            together = self._whole()
            h = together.encoders(self._encoder_networks(), together.codes)  # [N + E, d]
            nodes, edges = (torch.cat(learned) + h if learned else h)[None].split(self._rows, 1)
            return nodes, edges
        embedded = []
        for i in range(len(self.graph.groups) + len(self.graph.blocks)):
            h = self.encoders[i % len(self.encoders)](u[:, : self.d_u], getattr(self, f"code_{i}"), self.related[i])
            embedded.append(h + learned[i] if learned else h)
        n_groups = len(self.graph.groups)
        return torch.cat(embedded[:n_groups], 1), torch.cat(embedded[n_groups:], 1)

    def _at_once(self, tensor: Tensor) -> bool:
        """Whether all encoders, or decoders, are run together: messages that pass once for all intents, on a GPU."""
        return self.rank > 0 and tensor.is_cuda

    @property
    def _rows(self) -> list[int]:
        return [self.graph.n_nodes, self.graph.n_weight_edges]

    def _encoder_networks(self) -> list[nn.Module]:
        return [encoder.network for encoder in self.encoders if isinstance(encoder, Encoder)]

    def _whole(self) -> Together:
        """What it takes to run all encoders, and all decoders, at once; made when it is needed."""
        where = self.code_0.device, self.code_0.dtype
        if where not in self._together:
            codes = [getattr(self, f"code_{i}") for i in range(len(self.graph.groups) + len(self.graph.blocks))]
            widest = max(code.shape[1] for code in codes)
            numbers = {name: i for i, name in enumerate(self.decoders)}
            # Nodes without a bias are decoded, too, by whichever decoder, and left.
            of_nodes = [(numbers[_key(g.bias)] if g.bias else 0, g.size) for g in self.graph.groups]
            of_edges = [(numbers[_key(b.tensor)], math.prod(self.graph.edge_shape(b))) for b in self.graph.blocks]
            each = [(i % len(self.encoders), len(code)) for i, code in enumerate(codes)]
            self._together[where] = Together(
                torch.cat([F.pad(code, (0, widest - code.shape[1])) for code in codes]),
                TiledMlps(self._encoder_networks(), each).to(codes[0]),
                TiledMlps(list(self.decoders.values()), of_nodes + of_edges).to(codes[0]),
            )
        return self._together[where]

    def decoder(self, tensor: str) -> nn.Module:
        """The decoder of a tensor's slots."""
        return self.decoders[_key(tensor)]

    def decode(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Decoded numbers of every slot [K, R + 1, T]."""
        k, r = nodes.shape[0], self.rank + 1
        decoded, biases = self._decoded(nodes, edges)
        weights = [h.unflatten(-1, (r, b.channels)) for b, h in zip(self.graph.blocks, decoded, strict=True)]
        theta = self.graph.from_blocks(
            [w.permute(0, 3, 1, 2, 4).flatten(0, 1) for w in weights],  # [K·r, s, t, c]
            {name: b.transpose(1, 2).flatten(0, 1) for name, b in biases.items()},  # [K·r, n]
        )
        return self.template.flatten(theta).view(k, r, -1)

    def _decoded(self, nodes: Tensor, edges: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """What decoders make of every block's edges [K, s, t, (R + 1) · channels] and of the nodes with a bias, by
        group [K, n, R + 1]."""
        groups, blocks = [group for group in self.graph.groups if group.bias], self.graph.blocks
        if not self._at_once(edges):
            by_block, by_group = self.passing.blocks(edges), self.passing.groups(nodes)
            weights = [self.decoder(block.tensor)(h) for block, h in zip(blocks, by_block, strict=True)]
            return weights, {g.name: self.decoder(g.bias)(by_group[g.name]) for g in groups if g.bias}
        rows = torch.cat([nodes, edges], 1)[0]
        decoded = self._whole().decoders(list(self.decoders.values()), rows)
        of_nodes, of_edges = decoded[None].split(self._rows, 1)
        by_block, by_group = self.passing.blocks(of_edges), self.passing.groups(of_nodes)
        r = self.rank + 1
        weights = [_narrow(h, r * block.channels) for block, h in zip(blocks, by_block, strict=True)]
        return weights, {g.name: _narrow(by_group[g.name], r) for g in groups}

    def slots_of(self, u: Tensor) -> Tensor:
        decoded = self.decode(*self.passing(*self.embed(u)))
        if self.rank:
            mixed = self.mixer(u, decoded[0])
        else:
            mixed = decoded[:, 0]
        return mixed + self.theta0 if hasattr(self, "theta0") else mixed

    def anchored(self) -> set[str]:
        return super().anchored() | (self.mixer.anchored if self.rank else set())

    def anchor(self, generator: torch.Generator | None) -> None:
        super().anchor(generator)
        if self.rank:
            self.mixer.anchor(generator)

    def heads(self) -> Iterator[Head]:
        for tensor in self.template.tensors:
            last = list(self.decoder(tensor.name).children())[-1]
            assert isinstance(last, nn.Linear)
            yield Head(last, slice(None), slice(0, self.channels.get(tensor.name, 1)))


def _narrow(h: Tensor, size: int) -> Tensor:
    """The first numbers of each row [..., size], which costs nothing where there are no others."""
    return h if h.shape[-1] == size else h[..., :size]


def _key(tensor: str) -> str:
    """A tensor's name as torch allows it for a submodule, without dots."""
    return tensor.replace(".", "/")


Learner = MetaGnn
