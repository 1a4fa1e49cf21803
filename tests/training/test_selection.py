"""Which weights are kept: by val accuracy, then val loss, from `select_from` on; never weights that are no numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.params import Params
from pipeline.training import loop
from pipeline.training.loop import Hooks
from pipeline.training.measure import Measured
from pipeline.training.run import Places
from pipeline.training.selection import Row, State
from tests.helpers import same_bits, tiny
from tests.training.test_loop import only, trainer

STEPS = (0, 5, 10, 12)
NAN = math.nan


def kept(
    params: Params, places: Places, monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]]
) -> tuple[int, dict[int, State], State]:
    """The step that is kept when val gives these (accuracy, loss), and weights by step."""
    script = iter(scores)

    def measure(*_: object) -> Measured:
        accuracy, loss = next(script)
        return Measured(np.array([1000]), np.array([accuracy * 1000]), np.array([loss * 1000]))

    monkeypatch.setattr(loop, "measure", measure)
    made, states = trainer(params, places, "selection"), {}

    def remember(seed: int, row: Row) -> None:
        states[int(row["step"])] = only(made).last

    made.run("selection", Hooks(on_row=remember))
    assert tuple(states) == STEPS
    return only(made).progress.best_step, states, only(made).best


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.1, 1), (0.2, 1), (0.5, 9), (0.4, 1)], 10),  # accuracy goes before loss
        ([(0.1, 1), (0.2, 1), (0.2, 1), (0.3, 1)], 12),
        ([(0.5, 3), (0.5, 2), (0.5, 1), (0.5, 4)], 10),  # then loss
        ([(0.5, 3), (0.5, 3), (0.5, 3), (0.5, 3)], 0),  # then the first
        ([(0.9, 1), (0.2, 1), (0.3, 1), (0.4, 1)], 0),
        ([(0.1, 1), (0.2, 1), (0.9, NAN), (0.1, 1)], 5),  # weights that are no numbers may be right by chance
        ([(0.1, 1), (0.2, 1), (0.9, math.inf), (0.1, 1)], 5),
    ],
)
def test_best_by_accuracy_then_loss_then_first(
    places: Places, monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]], best: int
) -> None:
    step, states, state = kept(tiny({"training.sumfirst.select_from": 0.0}), places, monkeypatch, scores)
    assert step == best
    assert same_bits(state, states[best])
    assert not any(same_bits(state, states[other]) for other in STEPS if other != best)


@pytest.mark.parametrize(
    ("share", "scores", "best"),
    [
        (0.5, [(0.9, 1), (0.8, 1), (0.2, 2), (0.2, 1)], 12),  # step 6 on: earlier ones do not count
        (0.4, [(0.9, 1), (0.8, 1), (0.2, 2), (0.2, 1)], 5),  # step 4.8 on
        (1.0, [(0.9, 1), (0.8, 1), (0.7, 1), (0.1, 9)], 12),
        (0.5, [(0.9, 1), (0.8, 1), (0.2, NAN), (0.2, NAN)], 0),  # nothing after it: the best before
    ],
)
def test_earlier_weights_are_kept_only_for_want_of_later_ones(
    places: Places, monkeypatch: pytest.MonkeyPatch, share: float, scores: list[tuple[float, float]], best: int
) -> None:
    step, states, state = kept(tiny({"training.sumfirst.select_from": share}), places, monkeypatch, scores)
    assert step == best
    assert same_bits(state, states[best])


@pytest.mark.parametrize("rate", [1e3, 1e10, 1e30])
def test_a_run_that_diverges_says_so_and_keeps_finite_weights(places: Places, rate: float) -> None:
    params = tiny({"learners.sumfirst.meta_mlp.learning_rate": rate, "training.sumfirst.steps": 40})
    made = trainer(params, places, "diverging")
    made.run("diverging", Hooks())
    assert all(value.isfinite().all() for value in only(made).best.values())
    assert math.isfinite(only(made).progress.best_loss)
    if rate == 1e30:
        assert only(made).progress.diverged
        assert made.number < 40
        assert not math.isfinite(only(made).progress.history[-1]["loss"])
        assert not any(value.isfinite().all() for value in only(made).last.values())
