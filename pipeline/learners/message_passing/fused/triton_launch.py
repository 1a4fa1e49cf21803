"""Operations on all edges of a block by Triton kernels, for float32 on a GPU.

Each gradient is written by one program, and sums over rows are kept for each program and added afterwards, in one
order: there are no atomics, and the same bits every time. The gradient of the columns' part comes from a second walk
over the edges, with rows and columns exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from pipeline.learners.message_passing.fused import triton_kernels as kernels
from pipeline.learners.message_passing.fused.operations import Gather, Operation, Renew

# Programs that share the rows of one pack where each keeps sums of its own: some for each of a large GPU's
# multiprocessors, and a constant, so that the order of sums does not depend on the machine.
PROGRAMS = 512

# Columns at a time: the fewest that a matrix product takes. With more, registers spill.
COLUMNS = 16

# Shared memory that the largest kernel takes, in bytes for each number of the first layer's weight, padded (with tf32).
SHARED = 24


def takes(edges: Tensor, width: int) -> bool:
    """Whether the kernels are made for this, and fit on the GPU."""
    gpu = torch.cuda.get_device_properties(edges.device)
    room = getattr(gpu, "shared_memory_per_block_optin", gpu.shared_memory_per_block)
    return edges.dtype == torch.float32 and SHARED * _padded(edges.shape[-1]) * _padded(width) <= room


def forward(op: Operation, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """As `plain.forward`."""
    edges, (row, column, *weights) = _even(edges), _contiguous(row, column, *weights)
    k, n = edges.shape[:2]
    sizes = _sizes(op, edges, row, weights)
    with torch.cuda.device_of(edges):
        if isinstance(op, Renew):
            new = torch.empty_like(edges)
            kernels.renew[(k * n,)](edges, row, column, *_five(weights), new, **sizes, **_strides("o", new), EPS=op.eps)
            return (new,)
        values, *rest = [torch.empty_like(row), *(row.new_empty(k, n, 1) for _ in range(2) if weights[1:])]
        total, peak = rest or (row, row)
        kernels.gather[(k * n,)](edges, row, column, weights[0], weights[-1], values, total, peak, **sizes)
        return values, *rest


def backward(
    op: Operation, edges: Tensor, row: Tensor, column: Tensor, weights: Sequence[Tensor], of_rows: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """As `plain.backward`."""
    edges, (row, column, *weights) = _even(edges), _contiguous(row, column, *weights)
    d_edges, d_row, d_column = torch.empty_like(edges), torch.empty_like(row), torch.empty_like(column)
    packs = len(weights[0])
    rows, columns = row.shape[0] * row.shape[1] // packs, column.shape[0] * column.shape[1] // packs
    programs = min(rows, PROGRAMS)
    sums = [weight.new_empty(packs, programs, *weight.shape[1:]) for weight in weights]
    walk = _walk_gather if isinstance(op, Gather) else _walk_renew
    turned = edges.transpose(1, 2), column, row
    with torch.cuda.device_of(edges):
        walk(op, (programs, packs), (edges, row, column), weights, of_rows, d_row, d_edges, sums)
        walk(op, (columns, packs), turned, weights, of_rows, d_column, None, weights)
    return d_edges, d_row, d_column, *(each.sum(1) for each in sums)


def _walk_gather(
    op: Operation,
    grid: tuple[int, int],
    block: tuple[Tensor, Tensor, Tensor],
    weights: Sequence[Tensor],
    of_rows: Sequence[Tensor],
    d_row: Tensor,
    d_edges: Tensor | None,
    sums: Sequence[Tensor],
) -> None:
    """One walk over a block: with d_edges its rows are the receivers, without, the senders."""
    edges, row = block[:2]
    d_values, *rest = _contiguous(*of_rows)
    d_total, peak = rest or (d_values, d_values)
    out = edges if d_edges is None else d_edges
    kernels.gather_back[grid](
        *block, weights[0], weights[-1], d_values, d_total, peak, out, d_row, sums[0], sums[-1],
        **_sizes(op, edges, row, weights), **_strides("o", out), WHOLE=d_edges is not None,
    )  # fmt: skip


def _walk_renew(
    op: Operation,
    grid: tuple[int, int],
    block: tuple[Tensor, Tensor, Tensor],
    weights: Sequence[Tensor],
    of_rows: Sequence[Tensor],
    d_row: Tensor,
    d_edges: Tensor | None,
    sums: Sequence[Tensor],
) -> None:
    """One walk over a block; without d_edges it is turned, and so is the gradient that it reads."""
    assert isinstance(op, Renew)
    edges, row = block[:2]
    d_new = _even(of_rows[0])
    d_new = d_new.transpose(1, 2) if d_edges is None else d_new
    out = edges if d_edges is None else d_edges
    kernels.renew_back[grid](
        *block, *_five(weights)[:4], d_new, out, d_row, *_five(sums),
        **_sizes(op, edges, row, weights), **_strides("p", d_new), **_strides("o", out),
        EPS=op.eps, WHOLE=d_edges is not None,
    )  # fmt: skip


def _sizes(op: Operation, edges: Tensor, row: Tensor, weights: Sequence[Tensor]) -> dict[str, Any]:
    """What all kernels are told of a block [K, n, c, d], and what they are compiled for."""
    (k, n, c, d), m = edges.shape, row.shape[-1]
    depth, width = _padded(d), _padded(m)
    return {
        **dict(zip("ncdm", (n, c, d, m), strict=True)),
        **_strides("e", edges),
        "per_pack": k // len(weights[0]),
        "C": COLUMNS,
        "D": depth,
        "M": width,
        "ACTIVATION": op.activation,
        "PRECISION": "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
        # A score, or a LayerNorm.
        "WITH": len(weights) in (2, 5),
        "num_warps": 4 if depth * width <= 2048 else 8,
        "num_stages": 2,
    }


def _strides(letter: str, edges: Tensor) -> dict[str, int]:
    return {f"{letter}_{axis}": edges.stride(i) for i, axis in enumerate("knc")}


def _padded(size: int) -> int:
    """A size that a GPU's matrix products take."""
    return max(16, triton.next_power_of_2(size))


def _even(edges: Tensor) -> Tensor:
    """With the numbers of one edge side by side."""
    return edges if edges.stride(-1) == 1 else edges.contiguous()


def _contiguous(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _five(weights: Sequence[Tensor]) -> list[Tensor]:
    """Renew's weights; a stand-in where there is no LayerNorm."""
    return [*weights, *[weights[0]] * (5 - len(weights))]
