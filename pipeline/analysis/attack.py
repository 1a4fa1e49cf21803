"""How near to the weights there are others with another answer: an upper bound on every certified radius."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.certified import Checked

WEAKEST = 8
DOUBLINGS = 6
CLOSE_ENOUGH = 0.005


def nearest_found(checked: Checked) -> float:
    """The least ‖θ' − θ‖_par found at which a right answer changes (proven by that θ', not the least there is).

    From each of the `WEAKEST` right answers with the least lead, all the way along the gradient of that lead in
    the one tensor where it is steepest, which is the direction of steepest descent in this norm. NaN if no right
    answer, or none that changes on the way.
    """
    if not checked.of_right:
        return float("nan")
    x, answers = checked.x[checked.right], checked.answers[checked.right]
    leads = torch.cat([case.leads() for case in checked.of_right])
    weakest = np.argsort(_least(leads, len(x)).numpy(), kind="stable")[:WEAKEST]
    found = [_along(checked, x[i : i + 1], answers[i : i + 1]) for i in weakest]
    return min((distance for distance in found if np.isfinite(distance)), default=float("nan"))


def _least(leads: Tensor, n: int) -> Tensor:
    """The least lead [n] of each of n inputs, from those [N, v] of their tokens."""
    return leads.reshape(n, -1).amin(1)


def _along(checked: Checked, x: np.ndarray, answers: np.ndarray) -> float:
    """The distance at which this input's answer changes along its steepest direction, or infinity."""
    theta = {name: value.double().requires_grad_() for name, value in checked.program.theta.items()}
    lead = _least(checked.case(x, answers, theta).leads(), 1)[0]
    slopes = dict(zip(theta, torch.autograd.grad(lead, list(theta.values()), allow_unused=True), strict=True))
    size = {name: 0.0 if slope is None else float(slope.norm()) for name, slope in slopes.items()}
    steepest = max(size, key=lambda name: size[name])
    slope = slopes[steepest]
    if slope is None or not 0 < size[steepest] < np.inf:
        return float("inf")
    direction = -slope / size[steepest]

    @torch.no_grad()
    def changes(distance: float) -> bool:
        there = theta | {steepest: theta[steepest] + distance * direction}
        return bool(_least(checked.case(x, answers, there).leads(), 1)[0] < 0)

    first = float(lead.detach()) / size[steepest]  # where the lead would be used up, were it linear
    tried = (first * 2.0**power for power in range(DOUBLINGS))
    high = next((distance for distance in tried if changes(distance)), float("inf"))
    low = 0.0
    while np.isfinite(high) and high - low > CLOSE_ENOUGH * high:
        middle = (low + high) / 2
        low, high = (low, middle) if changes(middle) else (middle, high)
    return high
