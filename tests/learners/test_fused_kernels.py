"""The Triton kernels against plain torch, edge by edge: on a GPU, or in Triton's interpreter (see test_fused.py)."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from pipeline.graph import NeuralGraph, from_template
from pipeline.learners.layers import ACTIVATIONS
from pipeline.learners.message_passing import fused
from pipeline.learners.message_passing.fused import function
from pipeline.learners.message_passing.fused.operations import Gather, Operation, Renew
from pipeline.learners.message_passing.spans import spans_of
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from pipeline.templates import make_template
from tests.helpers import paper, tiny
from tests.learners.test_meta_gnn import FAMILIES, MIXING, codes, learner
from tests.learners.test_spans import edges_of, made

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs a GPU or Triton's interpreter", allow_module_level=True)
launch = pytest.importorskip("pipeline.learners.message_passing.fused.triton_launch", exc_type=ImportError)
DEVICE = "cpu" if INTERPRETED else "cuda"
on_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")

# An operation's name: the directions of its messages, or none, and the number of its weights.
KINDS = {"sum": (1, 1), "sum_both": (2, 1), "attn": (1, 2), "attn_both": (2, 2), "renew": (0, 3), "renew_norm": (0, 5)}

# All kinds of joins, a group that only sends, and one that nothing joins.
BLOCK, LINKS = [("in", "wide")], [("wide", "head"), ("head", "wide")]
SMALL = made({"in": 2, "alone": 1, "wide": 2, "head": 1}, dense=BLOCK, paired=BLOCK, links=LINKS)
# More edges at a node than the kernels take at once, into it and out of it.
MANY = made({"many": 17, "one": 1}, [("many", "one"), ("one", "many")])


def case(
    kind: str, graph: NeuralGraph, k: int, d: int, m: int, packs: int, activation: str
) -> tuple[Operation, list[Tensor]]:
    """An operation on a graph and its arguments, random numbers: edges [K, E, d], ends [K, N, P, m], weights [G, …]."""
    ways, count = KINDS[kind]
    op = Gather(activation) if ways else Renew(activation, 1e-5)
    shapes = [(ways, m, d), (ways, m)] if ways else [(m, d), (d, m), (d,), (d,), (d,)]
    edges = len(edges_of(graph, graph.links if ways else []))
    given = [torch.randn(k, edges, d), torch.randn(k, graph.n_nodes, 2 * (ways or 1), m)]
    return op, [*given, *(torch.randn(packs, *shape) for shape in shapes[:count])]


def one_by_one(op: Operation, graph: NeuralGraph, edges: Tensor, ends: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """What the kernels compute, from lists of the edges' ends."""
    source, target = torch.tensor(edges_of(graph, graph.links)).T
    first, *others = (weight.repeat_interleave(len(edges) // len(weight), 0) for weight in weights)
    act = ACTIVATIONS[op.activation]()
    if isinstance(op, Renew):
        weighted = slice(edges.shape[1])
        own = ends[:, source[weighted], 0] + ends[:, target[weighted], 1]
        hidden = act(edges @ first.mT + own)
        new = edges + hidden @ others[0].mT + others[1][:, None]
        if others[2:]:
            new = F.layer_norm(new, new.shape[-1:], eps=op.eps) * others[2][:, None] + others[3][:, None]
        return (new,)
    ways = [(target, source), (source, target)][: first.shape[1]]
    receivers = torch.cat([receiver for receiver, _ in ways])
    hidden = torch.cat(
        [
            act(edges @ first[:, way].mT + ends[:, receiver, 2 * way] + ends[:, sender, 2 * way + 1])
            for way, (receiver, sender) in enumerate(ways)
        ],
        1,
    )
    nobody = ends.new_zeros(len(ends), graph.n_nodes, 1)
    if not others:
        return (nobody.expand_as(ends[:, :, 0]).index_add(1, receivers, hidden),)
    of_way = others[0].repeat_interleave(edges.shape[1], 1)  # [K, messages, m]
    score = (hidden * of_way).sum(-1)
    index = receivers.expand_as(score)
    peak = torch.full_like(nobody[..., 0], -torch.inf).scatter_reduce(1, index, score.detach(), "amax")
    w = (score - peak[:, receivers]).exp()[..., None]
    values = nobody.expand_as(ends[:, :, 0]).index_add(1, receivers, w * hidden)
    return values, nobody.index_add(1, receivers, w), peak[..., None]


def kernels_of(graph: NeuralGraph) -> function.Implementation:
    return launch.Kernels(spans_of(graph, graph.links).to(torch.device(DEVICE)))


def close(ours: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Up to rounding: of each tensor's largest number, and of sums of terms as large as any that cancel."""
    # The peak of nothing is −inf; a code may have no numbers.
    sizes = [max(right.detach()[right.isfinite()].abs().tolist(), default=0.0) for right in expected]
    for found, right, size in zip(ours, expected, sizes, strict=True):
        allowed = 1e-4 * size + 1e-6 * max(sizes)
        torch.testing.assert_close(found.cpu(), right.cpu().to(found.dtype), rtol=1e-4, atol=allowed)


def agree(kind: str, graph: NeuralGraph, sizes: tuple[int, ...], activation: str = "silu") -> None:
    """Sizes: intents, depth, width and packs."""
    op, tensors = case(kind, graph, *sizes, activation)
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    expected = one_by_one(op, graph, *exact)
    pulls = [torch.randn(out.shape, dtype=out.dtype) for out in expected[:2]]
    right = torch.autograd.grad(expected[:2], exact, pulls)
    kernels = kernels_of(graph)
    tensors = [tensor.to(DEVICE) for tensor in tensors]
    outputs = kernels.forward(op, *tensors)
    close(outputs, expected)
    given = [*(pull.float().to(DEVICE) for pull in pulls), *outputs[2:]]
    found = kernels.backward(op, tensors, given)
    close(found, right)
    if not INTERPRETED:
        again = [*kernels.forward(op, *tensors), *kernels.backward(op, tensors, given)]
        assert all(torch.equal(one, other) for one, other in zip([*outputs, *found], again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_they_agree_with_edges_one_by_one(kind: str, activation: str) -> None:
    agree(kind, SMALL, (1, 5, 6, 1), activation)


@pytest.mark.parametrize("kind", KINDS)
def test_they_agree_over_many_edges_and_a_wide_layer(kind: str) -> None:
    assert MANY.group("many").size > launch.EDGES
    agree(kind, MANY, (1, 18, 70, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_programs_share_the_nodes_of_a_pack(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROGRAMS", 2)
    agree(kind, SMALL, (4, 4, 4, 2), "tanh")


@pytest.mark.parametrize("kind", ["sum", "attn"])
def test_nodes_without_messages_have_nothing(kind: str) -> None:
    """Of values, weights and gradients; one way, the first group hears nothing, too."""
    op, tensors = case(kind, SMALL, 1, 4, 4, 1, "silu")
    leaves = [tensor.to(DEVICE).requires_grad_() for tensor in tensors]
    outputs = function.Edgewise.apply(kernels_of(SMALL), op, *leaves)
    for out in outputs[:2]:
        assert out[:, :3].eq(0).all() and out[:, 3:].ne(0).all()
    sum(out.square().sum() for out in outputs[:2]).backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    d_receivers, d_senders = leaves[1].grad[0].unbind(1)
    assert d_receivers[:3].eq(0).all() and d_receivers[3:].ne(0).all()
    assert d_senders[2].eq(0).all() and d_senders[:2].ne(0).all()


def test_scores_beyond_the_range_of_exp_leave_all_finite() -> None:
    op, tensors = case("attn_both", SMALL, 1, 4, 4, 1, "silu")
    tensors[-1] *= 300
    leaves = [tensor.to(DEVICE).requires_grad_() for tensor in tensors]
    *outputs, peak = function.Edgewise.apply(kernels_of(SMALL), op, *leaves)
    assert peak.max() > 100
    sum(out.square().sum() for out in outputs).backward()
    assert all(tensor.isfinite().all() for tensor in (*outputs, *(leaf.grad for leaf in leaves)))


def test_bfloat16_is_read_as_float32() -> None:
    _, (edges, ends, first, score) = case("attn", SMALL, 1, 4, 4, 1, "silu")
    edges, ends, first, score = (tensor.bfloat16().to(DEVICE) for tensor in (edges, ends, first, score))
    spans = kernels_of(SMALL).spans
    rounded = fused.gather_all(spans, edges, ends, first[0].float(), score[0].float(), "silu")
    whole = fused.gather_all(spans, edges.float(), ends.float(), first[0].float(), score[0].float(), "silu")
    assert all(out.dtype == torch.float32 for out in rounded)
    torch.testing.assert_close(rounded, whole, rtol=0, atol=0)


VARIANTS = [
    {},
    {"aggregation": "sum"},
    {"aggregation": "avg", "use_norm": True},
    {"bidirectional": False},
    {"rev_edge_mode": "shared"},
    {"shared_rounds": False, "rounds": 2},
]
LINKED = [
    {},
    {"residual": False, "aggregation": "avg", "use_norm": True},
    {"pairing": False, "bidirectional": False},
    {"residual": False, "pairing": False, "bidirectional": False, "aggregation": "sum"},
]


@pytest.fixture(scope="module")
def small() -> Params:
    """Settings of templates that the interpreter walks along in a second or two."""
    primes = {"primes": [2, 3], "ood_primes": [2], "val_primes": [3]}
    sizes = {"d_model": 2, "n_heads": 1, "d_mlp": 2}
    changes = {f"programs.addmod.{key}": value for key, value in primes.items()}
    changes |= {f"templates.addmod.{key}": value for key, value in sizes.items()}
    return tiny({**changes, "templates.sumfirst.hidden": [2]})


@pytest.fixture
def on_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every graph by the kernels, on the interpreter's device too."""
    monkeypatch.setattr(fused, "graph_kernels", lambda edges, width: launch)


def little(params: Params, family: str, **changes: object) -> MetaGnn:
    return learner(params, family, torch.float32, **{"rounds": 1, "d_h": 4, "width": 5} | changes).to(DEVICE)


def step(gnn: MetaGnn, u: Tensor) -> tuple[Tensor, ...]:
    """Slots and all gradients; zeros where nothing reads a parameter."""
    gnn.zero_grad()
    out = gnn.slots(u)
    out.square().sum().backward()
    return out, *(torch.zeros_like(p) if p.grad is None else p.grad for p in gnn.parameters())


def blocks_agree(gnn: MetaGnn, u: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "graph_kernels", lambda edges, width: launch)
    ours = step(gnn, u)
    monkeypatch.setattr(fused, "graph_kernels", lambda edges, width: None)
    close(ours, step(gnn, u))


@pytest.mark.parametrize("mixing", MIXING)
@pytest.mark.parametrize("changes", VARIANTS)
def test_a_learner_is_the_same_in_blocks(
    small: Params, monkeypatch: pytest.MonkeyPatch, mixing: dict, changes: dict
) -> None:
    # One intent takes half the time of two.
    u = codes(small, "sumfirst")[: 1 if changes else 2].to(DEVICE)
    blocks_agree(little(small, "sumfirst", **mixing, **changes), u, monkeypatch)


@pytest.mark.parametrize(("mixing", "changes"), list(zip(MIXING * 2, LINKED, strict=True)))
def test_a_learner_with_links_is_the_same_in_blocks(
    small: Params, monkeypatch: pytest.MonkeyPatch, mixing: dict, changes: dict
) -> None:
    gnn, u = little(small, "addmod", **mixing, **changes), codes(small, "addmod")[:1].to(DEVICE)
    blocks_agree(gnn, u, monkeypatch)


@pytest.mark.usefixtures("on_kernels")
def test_a_pack_of_two_learners(small: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    gnn, u = little(small, "sumfirst"), codes(small, "sumfirst").to(DEVICE)
    scales = torch.tensor([1.0, 0.7], device=DEVICE)

    def edges(scale: Tensor) -> Tensor:
        scaled = {name: parameter * scale for name, parameter in gnn.passing.named_parameters()}
        return functional_call(gnn.passing, scaled, gnn.embed(u), tie_weights=False)[1]

    def step() -> tuple[Tensor, ...]:
        gnn.zero_grad()
        out = vmap(edges)(scales)
        out.square().sum().backward()
        return out, *(p.grad for p in gnn.passing.parameters() if p.grad is not None)

    ours = step()
    monkeypatch.setattr(fused, "graph_kernels", lambda edges, width: None)
    close(ours, step())


@on_gpu
def test_what_they_do_not_take_is_left_to_plain_torch() -> None:
    edges = torch.empty(1, 1, 32, device=DEVICE)
    assert function.graph_kernels(edges, 64) is launch
    assert function.graph_kernels(edges.bfloat16(), 64) is launch
    assert function.graph_kernels(edges, 2**16) is None
    assert function.graph_kernels(edges.double(), 64) is None
    assert function.graph_kernels(edges.cpu(), 64) is None


@on_gpu
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mixing", MIXING)
def test_on_a_gpu_they_are_chosen_and_run_in_a_graph(params: Params, family: str, mixing: dict) -> None:
    gnn = learner(params, family, torch.float32, **mixing).to(DEVICE)
    u = codes(params, family).to(DEVICE)
    assert fused.graph_kernels(gnn.embed(u)[1], gnn.passing.width) is launch

    def step() -> Tensor:
        gnn.zero_grad(set_to_none=False)
        out = gnn.slots(u)
        out.square().sum().backward()
        return out

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    expected = step(), *(p.grad.clone() for p in gnn.parameters() if p.grad is not None)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    graph.replay()
    close((out, *(p.grad for p in gnn.parameters() if p.grad is not None)), expected)


@on_gpu
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mixing", MIXING)
def test_on_a_gpu_a_learner_is_the_same_in_blocks(
    params: Params, monkeypatch: pytest.MonkeyPatch, family: str, mixing: dict
) -> None:
    gnn, u = learner(params, family, torch.float32, **mixing).to(DEVICE), codes(params, family).to(DEVICE)
    blocks_agree(gnn, u, monkeypatch)


@on_gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("family", "sizes"), [("sumfirst", (8, 32, 64, 2)), ("addmod", (4, 32, 46, 2)), ("arc1d", (1, 32, 234, 1))]
)
def test_they_agree_at_the_papers_sizes(kind: str, family: str, sizes: tuple[int, ...]) -> None:
    agree(kind, from_template(make_template(paper(), family)), sizes)
