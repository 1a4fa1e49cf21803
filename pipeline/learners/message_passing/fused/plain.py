"""Operations on all edges of a block in plain torch, tile by tile.

A tile is some rows of the block with all their columns, small enough for the processor's cache. Nothing is kept
of it: backward computes it again. So memory is bounded by inputs, outputs and one tile, however many edges there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.learners.message_passing.fused.operations import Operation

# Numbers in one tile's hidden layer, 1 MiB of them: with half and twice as many a step of arc1d in message mode took
# 1.4 and 1.3 times as long.
TILE = 2**18


def forward(op: Operation, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Outputs [K, n, …] from edges [K, n, c, d], row [K, n, m], column [K, c, m] and weights [G, …], each of
    which is that of K / G intents."""
    edges, row, column, *weights = tensors
    outputs: tuple[Tensor, ...] = ()
    for intents, rows, pack in _tiles(edges, row, len(weights[0])):
        part = op.tile(edges[intents, rows].contiguous(), row[intents, rows], column[intents], *_of(weights, pack))
        if not outputs:
            outputs = tuple(out.new_empty(*edges.shape[:2], *out.shape[2:]) for out in part)
        for out, new in zip(outputs, part, strict=True):
            out[intents, rows] = new
    return outputs


def backward(op: Operation, tensors: Sequence[Tensor], pulls: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of edges, row, column and weights from what `op.pull` reads of each row, [K, n, …]."""
    edges, row, column, *weights = tensors
    d_edges, d_row, d_column = torch.empty_like(edges), torch.empty_like(row), torch.zeros_like(column)
    d_weights = [torch.zeros_like(weight) for weight in weights]
    for intents, rows, pack in _tiles(edges, row, len(weights[0])):
        tile = edges[intents, rows].contiguous(), row[intents, rows], column[intents]
        found = op.pull(*tile, _of(weights, pack), [values[intents, rows] for values in pulls])
        d_edges[intents, rows], d_row[intents, rows] = found[:2]
        d_column[intents] += found[2]
        for total, part in zip(d_weights, found[3:], strict=True):
            total[pack] += part
    return d_edges, d_row, d_column, *d_weights


def _tiles(edges: Tensor, row: Tensor, packs: int) -> Iterator[tuple[slice, slice, int]]:
    """Intents, rows and number of the weights of each tile: all rows of some intents, or some rows of one."""
    k, n, columns = edges.shape[:3]
    at_once = max(1, TILE // (columns * row.shape[-1]))
    intents, rows = max(1, at_once // n), min(n, at_once)
    for pack in range(packs):
        end = (pack + 1) * k // packs
        for first in range(pack * k // packs, end, intents):
            for start in range(0, n, rows):
                yield slice(first, min(end, first + intents)), slice(start, start + rows), pack


def _of(weights: Sequence[Tensor], pack: int) -> list[Tensor]:
    return [weight[pack] for weight in weights]
