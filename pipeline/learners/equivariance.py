"""Equivariance of a graph hypernetwork, as a check that anyone can run (§4.3)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pipeline.graph.symmetries import Incidence, Permutations, act
from pipeline.learners.meta_gnn import MetaGnn


def permute_codes(learner: MetaGnn, permutations: Permutations) -> MetaGnn:
    """A copy of the learner with the positional and learned codes of its slots (and θ₀) moved."""
    moved = copy.deepcopy(learner)
    graph = learner.graph
    with torch.no_grad():
        for i, group in enumerate(graph.groups):
            order = _inverse(permutations, group.name)
            for codes in _codes(moved, i):
                codes.copy_(codes[order])
        for i, block in enumerate(graph.blocks, len(graph.groups)):
            sizes = graph.edge_shape(block)
            rows, columns = _inverse(permutations, block.source), _inverse(permutations, block.target)
            for codes in _codes(moved, i):
                by_row = codes.unflatten(0, sizes)[rows]
                codes.copy_((by_row if block.paired else by_row[:, columns]).flatten(0, 1))
        if hasattr(moved, "theta0"):
            theta0 = act(graph, permutations, moved.template.split(moved.theta0[None]))
            moved.theta0.copy_(moved.template.flatten(theta0)[0])
    return moved


def assert_equivariant(
    learner: MetaGnn, u: Tensor, permutations: Permutations, tolerance: float, leave: Incidence | None = None
) -> None:
    """Check θ̂(U; π · codes) = π · θ̂(U; codes) for an automorphism π of the graph.

    Where the codes are the same for all nodes that π moves (or there are none), this says that θ̂
    itself is left unchanged by π. `leave` keeps one side of one tensor in place on the right-hand
    side: an uncoupled permutation, for which the check must fail.

    Args:
        u: intent codes [K, d_u].
        permutations: for each node group the new place of each node.
        tolerance: largest difference allowed between slots.

    Raises:
        AssertionError: naming the tensor with the largest difference, and its size.
    """
    with torch.no_grad():
        left = permute_codes(learner, permutations).generate(u)
        right = act(learner.graph, permutations, learner.generate(u), leave)
    differences = {name: float((left[name] - right[name]).abs().max()) for name in left}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= tolerance:
        raise AssertionError(f"not equivariant: {worst} differs by {differences[worst]:.3g} (allowed {tolerance:.3g})")


def _codes(learner: MetaGnn, i: int) -> list[Tensor]:
    codes: list[Tensor] = [getattr(learner, f"code_{i}")]
    return [*codes, learner.learned[i]] if len(learner.learned) else codes


def _inverse(permutations: Permutations, group: str) -> Tensor:
    return torch.from_numpy(permutations[group]).argsort()
