"""Operations on all edges of a block, or of a graph, as functions that autograd and vmap know."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from pipeline.learners.message_passing.fused import plain
from pipeline.learners.message_passing.fused.operations import Gather, Operation, Renew
from pipeline.learners.message_passing.spans import Spans

# Numbers in a block's hidden layer up to which autograd may keep it. Below, recomputing costs time and saves little:
# a step of arc1d with factored mixing takes 1.4 times as long. Above, tiles in the cache make up for it.
KEPT = 2**19


class Implementation(Protocol):
    """What computes an operation forward and backward, from edges, ends and weights."""

    def forward(self, op: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs."""

    def backward(self, op: Operation, tensors: Sequence[Tensor], pulls: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The gradient of each tensor from those of the first two outputs, and the third itself."""


def gather(
    edges: Tensor, row: Tensor, column: Tensor, first: Tensor, score: Tensor | None, activation: str
) -> tuple[Tensor, ...]:
    """`operations.Gather` of a block: edges [K, n, c, d], row [K, n, m], column [K, c, m], first [m, d], score [m]."""
    return _on_block(Gather(activation), edges, row, column, [first] if score is None else [first, score])


def renew(edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor], activation: str, eps: float) -> Tensor:
    """`operations.Renew` of a block: edges [K, n, c, d], row [K, n, m], column [K, c, m] and its weights."""
    (new,) = _on_block(Renew(activation, eps), edges, row, column, weights)
    return new


def gather_all(
    spans: Spans, edges: Tensor, ends: Tensor, first: Tensor, score: Tensor | None, activation: str
) -> tuple[Tensor, ...]:
    """`operations.Gather` at every node, of the messages in one or both directions, along edges and against them.

    edges [K, E, d]; ends [K, N, 2w, m], in each of w directions the receivers' part, then the senders'; first
    [w, m, d]; score [w, m]. Values are [K, N, m]. Only where `graph_kernels` are.
    """
    return _on_graph(spans, Gather(activation), edges, ends, [first] if score is None else [first, score])


def renew_all(
    spans: Spans, edges: Tensor, ends: Tensor, weights: Sequence[Tensor], activation: str, eps: float
) -> Tensor:
    """`operations.Renew` of every edge: edges [K, E, d], ends [K, N, 2, m], as sources, then as targets."""
    (new,) = _on_graph(spans, Renew(activation, eps), edges, ends, weights)
    return new


def graph_kernels(edges: Tensor, width: int) -> ModuleType | None:
    """The Triton kernels, where Triton is installed, edges [K, E, d] are on a GPU, and the kernels take them."""
    kernels = _kernels() if edges.is_cuda else None
    return kernels if kernels is not None and kernels.takes(edges, width) else None


def block_tiles(edges: Tensor, width: int) -> Implementation | None:
    """What computes an operation on a block [K, n, c, d]; None: autograd records it whole."""
    return plain if edges.shape[:-1].numel() * width > KEPT else None


def _on_block(
    op: Operation, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    edges, row, column = _float32(edges, row, column)
    with torch.autocast(edges.device.type, enabled=False):
        how = block_tiles(edges, row.shape[-1])
        if how is None:
            return op.tile(edges, row, column, *weights)
        outputs: tuple[Tensor, ...] = Edgewise.apply(how, op, edges, row, column, *(weight[None] for weight in weights))
    return outputs


def _on_graph(
    spans: Spans, op: Operation, edges: Tensor, ends: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    kernels = _kernels()
    assert kernels is not None
    edges, ends = _float32(edges, ends)
    with torch.autocast(edges.device.type, enabled=False):
        outputs: tuple[Tensor, ...] = Edgewise.apply(
            kernels.Kernels(spans), op, edges, ends, *(weight[None] for weight in weights)
        )
    return outputs


def _float32(*tensors: Tensor) -> list[Tensor]:
    """Neither the kernels nor what is recomputed in backward, outside of autocast, follow bfloat16."""
    return [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in tensors]


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        return import_module("pipeline.learners.message_passing.fused.triton_launch")
    except ImportError:
        return None


class Edgewise(torch.autograd.Function):
    """An operation that keeps its inputs for backward, and nothing of the size of a hidden layer."""

    @staticmethod
    def forward(how: Implementation, op: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
        return how.forward(op, *tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.how, ctx.op, *tensors = inputs
        peak = output[2:]
        ctx.mark_non_differentiable(*peak)
        ctx.save_for_backward(*tensors, *peak)
        ctx.n_inputs = len(tensors)

    @staticmethod
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor | None, ...]:
        tensors, peak = ctx.saved_tensors[: ctx.n_inputs], ctx.saved_tensors[ctx.n_inputs :]
        return None, None, *EdgewiseGrad.apply(ctx.how, ctx.op, len(tensors), *tensors, *pulls[:2], *peak)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        return _folded(Edgewise, info.batch_size, in_dims, args)


class EdgewiseGrad(torch.autograd.Function):
    """The gradients of an operation's inputs: a function of its own, so that vmap knows it, too."""

    @staticmethod
    def forward(how: Implementation, op: Operation, n_inputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return how.backward(op, tensors[:n_inputs], tensors[n_inputs:])

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing: second derivatives are not there."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        return _folded(EdgewiseGrad, info.batch_size, in_dims, args)


def _folded(
    function: type[torch.autograd.Function], batch: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The function on a batch of arguments as one call: a batch of K intents with G weights is B·K with B·G."""
    folded = [
        (arg.expand(batch, *arg.shape) if dim is None else arg.movedim(dim, 0)).flatten(0, 1)
        if isinstance(arg, Tensor)
        else arg
        for arg, dim in zip(args, in_dims, strict=True)
    ]
    outputs = function.apply(*folded)
    return tuple(out.unflatten(0, (batch, -1)) for out in outputs), (0,) * len(outputs)
