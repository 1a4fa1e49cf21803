"""Operations on all edges of a graph by Triton kernels, for float32 on a GPU.

Each gradient is written by one program, and sums over nodes are kept for each program and added afterwards, in one
order: there are no atomics, and the same bits every time. The gradients of the other ends' parts come from a second
walk over the edges, with the two ends exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from pipeline.learners.message_passing.fused import triton_kernels as kernels
from pipeline.learners.message_passing.fused.operations import Gather, Operation, Renew
from pipeline.learners.message_passing.spans import Spans

# Programs that share the nodes of one pack where each keeps sums of its own: some for each of a large GPU's
# multiprocessors, and a constant, so that the order of sums does not depend on the machine.
PROGRAMS = 512

# Edges at a time: the fewest that a matrix product takes. With more, registers spill.
EDGES = 16

# Shared memory that the largest kernel takes, in bytes for each number of the first layer's weight, padded; float32's
# products as three of TF32, with the error of float32, need more, and are twice as fast.
SHARED, SHARED_THRICE = 24, 31


def takes(edges: Tensor, width: int) -> bool:
    """Whether the kernels are made for embeddings [K, E, d] and hidden layers of this width, and fit on the GPU."""
    numbers = _padded(edges.shape[-1]) * _padded(width)
    return edges.dtype in (torch.float32, torch.bfloat16) and SHARED * numbers <= _room(edges.device)


def _room(device: torch.device) -> int:
    """Shared memory that a program may have, in bytes."""
    gpu = torch.cuda.get_device_properties(device)
    room: int = getattr(gpu, "shared_memory_per_block_optin", gpu.shared_memory_per_block)
    return room


def _precision(device: torch.device, numbers: int) -> str:
    """How products are made, with so many numbers in the first layer's weight, padded."""
    if torch.backends.cuda.matmul.allow_tf32:
        return "tf32"
    return "tf32x3" if device.type == "cuda" and SHARED_THRICE * numbers <= _room(device) else "ieee"


@dataclass(frozen=True)
class Kernels:
    """The operations on a graph with these spans; see `function.Implementation`."""

    spans: Spans

    def forward(self, op: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Outputs from edges [K, E, d], ends [K, N, P, m] and weights [G, …], each of which is that of K / G intents.

        Of `Gather` weights are [G, P / 2, …] and outputs [K, N, …]; nodes without messages have values and weights
        of zero. Of `Renew` the output is [K, E, d].
        """
        edges, ends, *weights = _contiguous(*tensors)
        (k, n, _, m), sizes = ends.shape, _sizes(op, edges, ends, weights)
        graph = self.spans.starts, self.spans.spans
        with torch.cuda.device_of(edges):
            if isinstance(op, Gather):
                values, total, peak = (ends.new_empty(k, n, size) for size in (m, 1, 1))
                kernels.gather[(k * n,)](edges, ends, weights[0], weights[-1], values, total, peak, *graph, **sizes)
                return (values, total, peak) if weights[1:] else (values,)
            new = torch.empty_like(edges)
            kernels.renew[(k * n,)](edges, ends, *_five(weights), new, *graph, **sizes)
            return (new,)

    def backward(self, op: Operation, tensors: Sequence[Tensor], pulls: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Gradients of `forward`'s tensors from those of its first two outputs, and the third itself."""
        edges, ends, *weights = _contiguous(*tensors)
        (k, n, parts, _), packs = ends.shape, len(weights[0])
        nodes = k * n // packs
        programs = min(nodes, PROGRAMS)
        sums = [weight.new_empty(packs, programs, *weight.shape[1:]) for weight in weights]
        gathers = isinstance(op, Gather)
        # Each edge carries a message in every direction.
        d_edges = edges.new_empty(parts // 2 if gathers else 1, *edges.shape)
        d_ends, walk = torch.empty_like(ends), _walk_gather if gathers else _walk_renew
        given, found = (edges, ends, *weights), (d_edges, d_ends, *sums)
        sizes = _sizes(op, edges, ends, weights)
        with torch.cuda.device_of(edges):
            walk((programs, packs), given, _contiguous(*pulls), found, self.spans, {**sizes, "WHOLE": True})
            walk((nodes, packs), given, _contiguous(*pulls), found, self.spans, {**sizes, "WHOLE": False})
        return d_edges.sum(0) if len(d_edges) > 1 else d_edges[0], d_ends, *(each.sum(1) for each in sums)


def _walk_gather(
    grid: tuple[int, int],
    given: Sequence[Tensor],
    pulls: Sequence[Tensor],
    found: Sequence[Tensor],
    spans: Spans,
    sizes: dict[str, Any],
) -> None:
    """Without WHOLE it writes nothing but the senders' parts."""
    edges, ends, *weights = given
    d_edges, d_ends, *sums = found
    d_values, d_total, peak = pulls if sizes["WITH"] else [*pulls] * 3
    kernels.gather_back[grid](
        edges, ends, weights[0], weights[-1], d_values, d_total, peak, d_edges, d_ends, sums[0], sums[-1],
        spans.starts, spans.spans, **sizes,
    )  # fmt: skip


def _walk_renew(
    grid: tuple[int, int],
    given: Sequence[Tensor],
    pulls: Sequence[Tensor],
    found: Sequence[Tensor],
    spans: Spans,
    sizes: dict[str, Any],
) -> None:
    """Without WHOLE it writes nothing but the targets' parts."""
    edges, ends, *weights = given
    d_edges, d_ends, *sums = found
    kernels.renew_back[grid](
        edges, ends, *_five(weights)[:4], *pulls, d_edges, d_ends, *_five(sums), spans.starts, spans.spans, **sizes
    )


def _sizes(op: Operation, edges: Tensor, ends: Tensor, weights: Sequence[Tensor]) -> dict[str, Any]:
    """What all kernels are told, and what they are compiled for."""
    (k, e, d), (n, parts, m) = edges.shape, ends.shape[1:]
    depth, width = _padded(d), _padded(m)
    precision = _precision(edges.device, depth * width)
    return {
        **({"EPS": op.eps} if isinstance(op, Renew) else {"WAYS": parts // 2}),
        **dict(zip("nedm", (n, e, d, m), strict=True)),
        "per_pack": k // len(weights[0]),
        "C": EDGES,
        "D": depth,
        "M": width,
        "ACTIVATION": op.activation,
        "PRECISION": precision,
        # A score, or a LayerNorm.
        "WITH": len(weights) in (2, 5),
        "num_warps": 4 if depth * width <= 2048 else 8,
        # Measured: the second stage costs where products are short, and pays threefold where they are not.
        "num_stages": 1 if precision == "tf32x3" else 2,
    }


def _padded(size: int) -> int:
    """A size that a GPU's matrix products take."""
    return max(16, triton.next_power_of_2(size))


def _contiguous(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _five(weights: Sequence[Tensor]) -> list[Tensor]:
    """Renew's weights; a stand-in where there is no LayerNorm."""
    return [*weights, *[weights[0]] * (5 - len(weights))]
