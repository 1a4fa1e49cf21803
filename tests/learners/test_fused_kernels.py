"""The Triton kernels against plain torch: on a GPU, or in Triton's interpreter (see test_fused.py)."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from pipeline.learners.layers import ACTIVATIONS
from pipeline.learners.message_passing.fused import function, plain
from pipeline.params import Params
from tests.learners.test_fused import KINDS, case
from tests.learners.test_meta_gnn import MIXING, codes, learner

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs a GPU or Triton's interpreter", allow_module_level=True)
launch = pytest.importorskip("pipeline.learners.message_passing.fused.triton_launch", exc_type=ImportError)
DEVICE = "cpu" if INTERPRETED else "cuda"
on_gpu = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")

# Intents, rows, columns, depth, width, packs: sizes that no tile divides, and more columns than one tile has.
SMALL, WIDE = (2, 2, 3, 5, 6, 2), (2, 2, 19, 18, 70, 1)


@pytest.fixture
def on_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block by the kernels, on the interpreter's device too."""
    monkeypatch.setattr(function, "implementation", lambda edges, width: launch)


def close(ours: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for found, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4 * float(right.detach().abs().max()))


def agree(kind: str, sizes: tuple[int, ...], activation: str) -> None:
    op, tensors = case(kind, *sizes, activation=activation)
    tensors = [tensor.to(DEVICE) for tensor in tensors]
    edges, row, column, *weights = tensors
    outputs = plain.forward(op, edges, row, column, weights)
    close(launch.forward(op, edges, row, column, weights), outputs)
    of_rows = [*(torch.randn_like(out) for out in outputs[:2]), *outputs[2:]]
    found = launch.backward(op, edges, row, column, weights, of_rows)
    close(found, plain.backward(op, edges, row, column, weights, of_rows))
    if not INTERPRETED:
        again = launch.backward(op, edges, row, column, weights, of_rows)
        assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_they_agree_with_plain_torch(kind: str, activation: str) -> None:
    agree(kind, SMALL, activation)


@pytest.mark.parametrize("kind", KINDS)
def test_they_agree_over_many_columns_and_a_wide_layer(kind: str) -> None:
    agree(kind, WIDE, "silu")


@pytest.mark.parametrize("kind", KINDS)
def test_programs_share_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROGRAMS", 2)
    agree(kind, (2, 3, 2, 4, 4, 1), "tanh")


@pytest.mark.usefixtures("on_kernels")
def test_a_pack_of_two_learners(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    gnn = learner(params, "sumfirst", torch.float32, rounds=1, d_h=4, width=5).to(DEVICE)
    u = codes(params, "sumfirst").to(DEVICE)
    scales = torch.tensor([1.0, 0.7], device=DEVICE)

    def slots(scale: Tensor) -> Tensor:
        scaled = {name: parameter * scale for name, parameter in gnn.passing.named_parameters()}
        return torch.func.functional_call(gnn.passing, scaled, gnn.embed(u), tie_weights=False)[1]

    def step() -> tuple[Tensor, ...]:
        gnn.zero_grad()
        out = vmap(slots)(scales)
        out.square().sum().backward()
        return out, *(p.grad for p in gnn.passing.parameters() if p.grad is not None)

    ours = step()
    monkeypatch.setattr(function, "implementation", lambda edges, width: None)
    close(ours, step())


@on_gpu
def test_what_they_do_not_take_is_left_to_plain_torch() -> None:
    edges = torch.empty(1, 1, 1, 32, device=DEVICE)
    assert launch.takes(edges, 64)
    assert not launch.takes(edges, 2**16)
    assert not launch.takes(edges.double(), 64)


@on_gpu
@pytest.mark.parametrize("mixing", MIXING)
def test_on_a_gpu_they_are_chosen_and_run_in_a_graph(params: Params, mixing: dict) -> None:
    gnn = learner(params, "addmod", torch.float32, **mixing).to(DEVICE)
    u = codes(params, "addmod").to(DEVICE)
    edges = torch.empty(1, 2, 3, 8, device=DEVICE)
    assert function.implementation(edges, 10) is launch

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
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(4, 97, 16, 32, 46, 2), (2, 32, 140, 32, 37, 1), (3, 10, 16, 32, 234, 1)])
def test_they_agree_at_the_papers_sizes(kind: str, sizes: tuple[int, ...]) -> None:
    agree(kind, sizes, "silu")
