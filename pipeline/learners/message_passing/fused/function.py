"""Operations on all edges of a block as functions that autograd and vmap know; the one place that chooses how."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from pipeline.learners.message_passing.fused import plain
from pipeline.learners.message_passing.fused.operations import Gather, Operation, Renew

# Numbers in a block's hidden layer up to which autograd may keep it. Below, recomputing costs time and saves little:
# a step of arc1d with factored mixing takes 1.4 times as long. Above, tiles in the cache make up for it.
KEPT = 2**19


def gather(
    edges: Tensor, row: Tensor, column: Tensor, first: Tensor, score: Tensor | None, activation: str
) -> tuple[Tensor, ...]:
    """`operations.Gather` of edges [K, n, c, d], row [K, n, m], column [K, c, m], first [m, d] and score [m]."""
    return _run(Gather(activation), edges, row, column, [first] if score is None else [first, score])


def renew(edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor], activation: str, eps: float) -> Tensor:
    """`operations.Renew` of edges [K, n, c, d], row [K, n, m], column [K, c, m] and its weights."""
    (new,) = _run(Renew(activation, eps), edges, row, column, weights)
    return new


def _run(op: Operation, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    # Neither the kernels nor what is recomputed in backward, outside of autocast, follow it.
    edges, row, column = (part.float() if part.dtype == torch.bfloat16 else part for part in (edges, row, column))
    with torch.autocast(edges.device.type, enabled=False):
        how = implementation(edges, row.shape[-1])
        if how is None:
            return op.tile(edges, row, column, *weights)
        outputs: tuple[Tensor, ...] = Edgewise.apply(how, op, edges, row, column, *(weight[None] for weight in weights))
    return outputs


def implementation(edges: Tensor, width: int) -> ModuleType | None:
    """The module that computes an operation forward and backward; None: autograd records it whole."""
    kernels = _kernels() if edges.is_cuda else None
    if kernels is not None and kernels.takes(edges, width):
        return kernels
    return plain if edges.shape[:-1].numel() * width > KEPT else None


@functools.cache
def _kernels() -> ModuleType | None:
    """The Triton kernels, where Triton is installed."""
    try:
        return import_module("pipeline.learners.message_passing.fused.triton_launch")
    except ImportError:
        return None


class Edgewise(torch.autograd.Function):
    """An operation that keeps its inputs for backward, and nothing of the size of a hidden layer."""

    @staticmethod
    def forward(
        how: ModuleType, op: Operation, edges: Tensor, row: Tensor, column: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = how.forward(op, edges, row, column, weights)
        return outputs

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
    def forward(how: ModuleType, op: Operation, n_inputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        (edges, row, column, *weights), of_rows = tensors[:n_inputs], tensors[n_inputs:]
        found: tuple[Tensor, ...] = how.backward(op, edges, row, column, weights, of_rows)
        return found

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
