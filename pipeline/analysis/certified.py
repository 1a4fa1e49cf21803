"""Within which distance of its weights no answer of a program changes (App. A.4, Corollary 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pipeline.analysis.lipschitz import ROOT_2, body, operator_norm
from pipeline.synthesis import NeuralProgram
from pipeline.templates import Theta

AT_ONCE = 4096  # answers, of one token each
CLOSE_ENOUGH = 1.001


@dataclass(frozen=True)
class Checked:
    """The inputs of a program that are looked at, x [n, l], its answers and the right ones [n, m].

    `exhaustive`: these are all inputs there are. `margin` is γ(u) of the paper: the least lead of the right answer.
    """

    program: NeuralProgram
    x: np.ndarray
    answers: np.ndarray
    right_answers: np.ndarray
    exhaustive: bool

    @cached_property
    def right(self) -> np.ndarray:
        """Which inputs [n] are answered rightly."""
        is_right: np.ndarray = (self.answers == self.right_answers).all(1)
        return is_right

    @cached_property
    def finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.program.theta.values())

    @cached_property
    def margin(self) -> float:
        """γ(u): least lead of the right answer over all inputs, negative if an answer is wrong; NaN if θ has NaN.

        The lead is the right logit less the best other; of numbers, 0.5 less the error.
        """
        wrong = self._cases(~self.right, self.right_answers)
        return min((float(case.leads().min()) for case in (*self.of_right, *wrong)), default=float("nan"))

    @cached_property
    def margin_right(self) -> float:
        """The same over the inputs that are answered rightly; NaN if there are none."""
        return min((float(case.leads().min()) for case in self.of_right), default=float("nan"))

    @cached_property
    def radius(self) -> float:
        """Certified: no right answer changes while ‖θ' − θ‖_par stays below this; 0 if there is nothing to certify."""
        return min((case.radius() for case in self.of_right), default=0.0)

    @cached_property
    def radius_any(self) -> float:
        """Certified: no answer at all, right or wrong, changes below this."""
        of_wrong = [case.radius() for case in self._cases(~self.right, self.answers)]
        return min([self.radius, *of_wrong] if self.of_right else of_wrong, default=0.0)

    def covers(self, *thetas: Theta) -> list[bool]:
        """Whether it is certified of each θ' [1, …] that no right answer changes, from the operator norms of its move.

        Sharper than to compare its distance with `radius`, which must hold for moves in the worst direction.
        """
        moves = [self._moved(theta) for theta in thetas] if self.of_right else []
        covered = [[case.covers(moved) for moved in moves] for case in self.of_right]
        return [all(of_cases) for of_cases in zip(*covered, strict=True)] if covered else [False] * len(thetas)

    def _moved(self, theta: Theta) -> dict[str, float]:
        before = self.program.theta
        return {name: operator_norm(name, theta[name][0].double() - before[name][0].double()) for name in theta}

    def changed(self, theta: Theta) -> int:
        """How many of the inputs are answered differently at θ' [1, …]."""
        return int((~replace(self.program, theta=theta).gives(self.x, self.answers)).sum())

    def case(self, x: np.ndarray, answers: np.ndarray, theta: Theta | None = None) -> Case:
        """What keeps these answers to inputs x, with the program's own weights or with others (any precision)."""
        return Case(self.program if theta is None else replace(self.program, theta=theta), x, answers)

    @cached_property
    def of_right(self) -> list[Case]:
        """What keeps the right answers, in the order of the inputs; nothing where θ has NaN."""
        return self._cases(self.right, self.answers)

    def _cases(self, which: np.ndarray, answers: np.ndarray) -> list[Case]:
        if not self.finite:
            return []
        x, answers, rows = self.x[which], answers[which], max(1, AT_ONCE // answers.shape[1])
        return [self.case(x[i : i + rows], answers[i : i + rows]) for i in range(0, len(x), rows)]


def check(program: NeuralProgram, rng: np.random.Generator) -> Checked:
    """All inputs of the program's intent if an analysis can afford them, else fresh ones."""
    x, exhaustive = program.inputs(rng, program.affordable)
    right = program.family.rule(program.intent, x)
    answers, wrong = right.copy(), ~program.gives(x, right)
    if wrong.any():
        answers[wrong] = program.answers(x[wrong])
    return Checked(program, x, answers, right, exhaustive)


class Case:
    """Inputs x [n, l] with given answers [n, m], which stay while every lead [N, v] stays positive (N = n·m).

    An answer leads each other one by (u_i − u_j) · h, which moves by at most √2 ‖ΔU‖ ‖h‖ + (‖u_i − u_j‖ + √2 ‖ΔU‖) Δh;
    a number, by the same with its one column and without √2. Answers are fed back, so that sequences decode the same.
    """

    def __init__(self, program: NeuralProgram, x: np.ndarray, answers: np.ndarray) -> None:
        family, template = program.family, program.template
        theta = {name: value.double() for name, value in program.theta.items()}
        y = torch.from_numpy(answers)
        read = family.template_input(torch.from_numpy(x)[None], y[None])[0]
        self.is_number = family.vocabulary is None
        self.names = [tensor.name for tensor in template.tensors]
        self.weight = self.names[-2 if self.is_number else -1]
        self.bias = self.names[-1] if self.is_number else None
        self.body = body(template, theta, read.double() if self.is_number else read)
        self.columns = theta[self.weight][0].T  # [v, d]
        self.shared = 1.0 if self.is_number else ROOT_2
        output = self.body.hidden @ self.columns.T
        if self.bias is not None:
            output = output + theta[self.bias][0]
        self._leads, self.steepness = self._numbers(output, y) if self.is_number else self._tokens(output, y.flatten())

    def _numbers(self, output: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 - (output - y).abs(), self.columns.norm(dim=-1)[None]

    def _tokens(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        leads = logits.gather(1, y[:, None]) - logits
        apart = torch.cdist(self.columns, self.columns, compute_mode="donot_use_mm_for_euclid_dist")
        return leads.scatter(1, y[:, None], torch.inf), apart[y]

    def leads(self) -> Tensor:
        """By how much each answer leads each other one [N, v] (itself: infinity), or is from being rounded away."""
        return self._leads

    def change(self, moved: dict[str, float]) -> Tensor:
        """A bound [N, v] on the change of the leads while tensor t moves by at most moved[t]."""
        hidden = self.body.change(moved).at(moved)
        own = moved[self.weight] * self.body.hidden.norm(dim=-1) + (moved[self.bias] if self.bias else 0.0)
        return self.shared * own[:, None] + (self.steepness + self.shared * moved[self.weight]) * hidden[..., None]

    def slope(self, radius: float) -> Tensor:
        """The Lipschitz constant [N, v] of the leads in ‖·‖_par, on the ball of this radius."""
        by = self.body.change(dict.fromkeys(self.names, radius)).steepest()
        own = self.shared * self.body.hidden.norm(dim=-1).clamp(min=1.0 if self.bias else 0.0)
        return torch.maximum(own[:, None], (self.steepness + self.shared * radius) * by[..., None])

    def covers(self, moved: dict[str, float]) -> bool:
        """Whether no answer changes while tensor t moves by at most moved[t] in operator norm."""
        return bool((self._leads > self.change(moved)).all())

    def radius(self) -> float:
        """The largest radius found, to 0.1 %, at which slope × radius is below every lead."""
        # The slope grows with the radius, so leads / slope(r) is certified if it is below r, and else r is.
        high = self._reached(0.0)
        low = min(high, self._reached(high))
        while low > 0 and high > CLOSE_ENOUGH * low:
            middle = (low * high) ** 0.5
            reached = self._reached(middle)
            low, high = (middle, min(high, reached)) if reached >= middle else (max(low, reached), middle)
        return low

    def _reached(self, radius: float) -> float:
        least = float((self._leads / self.slope(radius)).min())
        return least if 0 < least < np.inf else 0.0
