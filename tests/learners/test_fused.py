"""Operations on all edges of a block: tiles against autograd, what is kept for backward, vmap, and how it is chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from pipeline.learners.layers import ACTIVATIONS
from pipeline.learners.message_passing.fused import function, plain
from pipeline.learners.message_passing.fused.operations import Gather, Operation, Renew
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from tests.learners.test_meta_gnn import MIXING, codes, learner

OPERATIONS = {"sum": (Gather, 1), "attn": (Gather, 2), "renew": (Renew, 3), "renew_norm": (Renew, 5)}
KINDS = sorted(OPERATIONS)


def case(
    kind: str, k: int, n: int, c: int, d: int, m: int, packs: int = 1, activation: str = "silu"
) -> tuple[Operation, list[Tensor]]:
    """An operation and random arguments: edges [K, n, c, d] (a turned block), row, column and weights [G, …]."""
    make, count = OPERATIONS[kind]
    op = make(activation) if make is Gather else make(activation, 1e-5)
    shapes = [(m, d), (m,)] if make is Gather else [(m, d), (d, m), (d,), (d,), (d,)]
    block = [torch.randn(k, c, n, d).transpose(1, 2), torch.randn(k, n, m), torch.randn(k, c, m)]
    return op, [*block, *(torch.randn(packs, *shape) for shape in shapes[:count])]


def tiled(op: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
    return function.Edgewise.apply(plain, op, *tensors)


def recorded(op: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The operation as autograd records it, pack by pack."""
    packs = len(tensors[3])
    split = [tensor.unflatten(0, (packs, -1)) if i < 3 else tensor for i, tensor in enumerate(tensors)]
    parts = [op.tile(*(tensor[pack] for tensor in split)) for pack in range(packs)]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def gradients(outputs: tuple[Tensor, ...], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Of a random sum of the outputs but the peak, the same each time."""
    generator = torch.Generator().manual_seed(1)
    pulls = [torch.randn(out.shape, generator=generator).to(out) for out in outputs[:2]]
    return torch.autograd.grad(outputs[:2], inputs, pulls)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_tiles_of_any_size_are_what_autograd_makes_of_the_whole(kind: str, data: st.DataObject) -> None:
    packs, *sizes = (data.draw(st.integers(1, 5)) for _ in range(6))
    op, tensors = case(kind, packs * sizes[0], *sizes[1:], packs, data.draw(st.sampled_from(sorted(ACTIVATIONS))))
    tensors = [tensor.double().requires_grad_() for tensor in tensors]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "TILE", data.draw(st.integers(1, 400)))
        ours = tiled(op, *tensors)
        found = gradients(ours, tensors)
    whole = recorded(op, *tensors)
    torch.testing.assert_close(ours, whole)
    torch.testing.assert_close(found, gradients(whole, tensors))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str, activation: str) -> None:
    op, tensors = case(kind, 1, 2, 3, 2, 3, activation=activation)

    def aggregated(*tensors: Tensor) -> tuple[Tensor, ...]:
        """The peak is a constant to autograd, so only what does not depend on it can be compared."""
        outputs = tiled(op, *tensors)
        if len(outputs) < 3:
            return outputs
        values, total, peak = outputs
        return values / total, total.log() + peak

    tensors = [tensor.double().requires_grad_() for tensor in tensors]
    _, *others = aggregated(*tensors)
    assert torch.autograd.gradcheck(lambda *tensors: aggregated(*tensors)[0], tensors)
    if others:
        # The gradient of the logarithm of the sum is that of Σ w exp(peak), whose peak is constant.
        found = torch.autograd.grad(others[0].sum(), tensors[-1])[0]
        step = 1e-6
        for i in range(tensors[-1].shape[1]):
            shifted = [tensor.detach().clone() for tensor in tensors]
            shifted[-1][0, i] += step
            slope = (aggregated(*shifted)[1] - others[0]).sum() / step
            torch.testing.assert_close(slope, found[0, i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_hidden_layers_size_is_kept(kind: str) -> None:
    op, tensors = case(kind, 3, 8, 9, 4, 10)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        tiled(op, *(tensor.requires_grad_() for tensor in tensors))
    assert kept
    assert max(tensor.numel() for tensor in kept) <= tensors[0].numel() < 3 * 8 * 9 * 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batched", ["all", "weights", "row"])
def test_vmap_is_a_loop(kind: str, batched: str) -> None:
    op, first = case(kind, 2, 3, 4, 5, 6)
    alone = {"all": range(len(first)), "weights": range(3, len(first)), "row": [1]}[batched]
    many = [torch.randn(4, *t.shape) if i in alone else t for i, t in enumerate(first)]
    dims = tuple(0 if i in alone else None for i in range(len(first)))

    def loss(*tensors: Tensor) -> Tensor:
        return sum(out.square().sum() for out in tiled(op, *tensors)[:2])

    each = [[t[b] if i in alone else t for i, t in enumerate(many)] for b in range(4)]
    looped = [tiled(op, *tensors) for tensors in each]
    expected = tuple(torch.stack(outputs) for outputs in zip(*looped, strict=True))
    torch.testing.assert_close(vmap(lambda *tensors: tiled(op, *tensors), dims)(*many), expected)
    everything = tuple(range(len(first)))
    inside = vmap(grad(loss, everything), dims)(*many)
    leaves = [tensor.detach().requires_grad_() for tensor in many]
    vmap(loss, dims)(*leaves).sum().backward()
    for i, (found, leaf) in enumerate(zip(inside, leaves, strict=True)):
        expected = torch.stack([grad(loss, i)(*tensors) for tensors in each])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(leaf.grad, expected if i in alone else expected.sum(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kept", [0, 2**30])
@pytest.mark.parametrize("mixing", MIXING)
def test_a_pack_of_learners_is_each_alone(
    params: Params, monkeypatch: pytest.MonkeyPatch, mixing: dict, kept: int
) -> None:
    monkeypatch.setattr(function, "KEPT", kept)
    learners, u = [learner(params, "sumfirst", **mixing) for _ in range(3)], codes(params, "sumfirst", torch.float64)
    stacked, buffers = stack_module_state(learners)

    def run(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        # Both directions share one module, which `tie_weights` would leave changed.
        given = _under(parameters) | _under(buffers)
        return functional_call(_Slots(learners[0]), given, (u,), tie_weights=False)

    together = vmap(run)(stacked, buffers)
    torch.testing.assert_close(together, torch.stack([one.slots(u) for one in learners]))
    together.square().sum().backward()
    for i, one in enumerate(learners):
        one.slots(u).square().sum().backward()
        for name, parameter in one.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(stacked[name].grad[i], parameter.grad, rtol=1e-8, atol=1e-9)


class _Slots(torch.nn.Module):
    """`slots` as a forward pass."""

    def __init__(self, learner: MetaGnn) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, u: Tensor) -> Tensor:
        return self.learner.slots(u)


def _under(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"learner.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("family", ["addmod", "arc1d"])
@pytest.mark.parametrize("mixing", MIXING)
@pytest.mark.parametrize("changes", [{}, {"aggregation": "avg", "use_norm": True}, {"rev_edge_mode": "shared"}])
def test_tiles_change_no_learner(
    params: Params, monkeypatch: pytest.MonkeyPatch, family: str, mixing: dict, changes: dict
) -> None:
    gnn, u = learner(params, family, **mixing, **changes), codes(params, family, torch.float64)
    found = []
    for kept, tile in ((2**30, 1), (0, 500)):
        monkeypatch.setattr(function, "KEPT", kept)
        monkeypatch.setattr(plain, "TILE", tile)
        gnn.zero_grad()
        slots = gnn.slots(u)
        slots.square().sum().backward()
        found.append((slots, [p.grad for p in gnn.parameters() if p.grad is not None]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-8, atol=1e-9)


def test_small_blocks_are_recorded_and_large_ones_are_not() -> None:
    edges = torch.empty(1, 2, 3, 4)
    assert function.block_tiles(edges, function.KEPT // 6) is None
    assert function.block_tiles(edges, function.KEPT // 6 + 1) is plain


def test_on_a_processor_no_graph_is_for_the_kernels() -> None:
    assert function.graph_kernels(torch.empty(1, 6, 4), 5) is None


def test_without_triton_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pipeline.learners.message_passing.fused.triton")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert function._kernels.__wrapped__() is None


def test_second_derivatives_are_refused() -> None:
    op, tensors = case("attn", 1, 2, 2, 2, 2)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    (first,) = torch.autograd.grad(tiled(op, *tensors)[0].square().sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="backward"):
        first.sum().backward()


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_kernels_agree_in_tritons_interpreter() -> None:
    """In a process of its own: Triton reads the variable when it is imported."""
    tests = Path(__file__).with_name("test_fused_kernels.py")
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout or "[100%]" in done.stdout
