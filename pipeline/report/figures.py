"""Figures 8, 10 and 11: what each seed reaches on test and on ood, and how ood is distributed over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from pipeline import names
from pipeline.report.evidence import Cell, Evidence
from pipeline.report.published import published
from pipeline.style import INK, PAPER, own_style, to_svg

FEWEST_FOR_A_BOX = 4
PAPER_MARK: dict[str, Any] = {
    "marker": "*",
    "markersize": 10,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.2,
    "linestyle": "none",
}


@dataclass(frozen=True)
class Series:
    """One learner's accuracies [seeds], which of them is the best by val, and the paper's best ood."""

    learner: str
    test: np.ndarray
    ood: np.ndarray
    best: int
    paper: float | None


def series(evidence: Evidence, family: str) -> list[Series]:
    """What the family's figure shows: the learners that have runs."""
    return [_series(cell) for cell in evidence.present(family)]


def draw(family: str, shown: Sequence[Series]) -> str:
    """The figure of one family as SVG. Equal series give equal bytes."""
    with own_style():
        figure = Figure(figsize=(7.6, 3.7))
        left = figure.add_axes((0.072, 0.25, 0.34, 0.66))
        right = figure.add_axes((0.462, 0.25, 0.53, 0.66))
        _scatter(left, shown)
        _distribution(right, shown)
        _key(figure, any(one.paper is not None for one in shown))
        return to_svg(figure, f"{names.family(family).label}: accuracy on test and ood, per seed")


def _series(cell: Cell) -> Series:
    table = cell.per_seed
    return Series(
        cell.of.learner,
        table["test"].to_numpy(),
        table["ood"].to_numpy(),
        list(table.index).index(cell.best),
        published().accuracy.get((cell.of.family, cell.of.learner, "ood")),
    )


def _scatter(axes: Axes, shown: Sequence[Series]) -> None:
    """Left: a point per seed, test against ood."""
    for one in shown:
        _points(axes, one.test, one.ood, one)
    lowest = min((float(one.test.min()) for one in shown), default=0.0)
    # At least the last tenth is shown, so that seeds that differ by a few examples do not look far apart.
    start = min(0.9, np.floor(lowest * 10) / 10)
    axes.set_xlim(start - 0.04 * (1 - start), 1 + 0.04 * (1 - start))
    axes.set_xlabel("accuracy on test, % solved (new inputs)")
    axes.set_ylabel("accuracy on ood, % solved (new intents)")
    axes.set_title("Each seed")
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0, symbol=None))
    _ood_axis(axes)
    axes.grid(axis="x")


def _distribution(axes: Axes, shown: Sequence[Series]) -> None:
    """Right: ood over seeds; a box from quartile to quartile if there are seeds enough, the median, every seed."""
    for place, one in enumerate(shown):
        colour = names.learner(one.learner).colour
        low, median, high = np.quantile(one.ood, [0.25, 0.5, 0.75])
        if len(one.ood) >= FEWEST_FOR_A_BOX:
            axes.bar(place, high - low, 0.64, low, color=colour, alpha=0.18, edgecolor=colour, linewidth=0.8)
        axes.hlines(median, place - 0.32, place + 0.32, color=INK, linewidth=1.4, zorder=2.5)
        _points(axes, place + beeswarm(one.ood), one.ood, one)
        if one.paper is not None:
            axes.plot(place + 0.4, one.paper, **PAPER_MARK | {"markeredgecolor": colour}, clip_on=False, zorder=4)
    axes.set_xticks(range(len(shown)), [f"{names.learner(one.learner).short}\nn = {len(one.ood)}" for one in shown])
    axes.set_xlim(-0.6, max(len(shown), 1) - 0.4)
    axes.set_title("ood over seeds")
    axes.tick_params(axis="x", length=0)
    _ood_axis(axes)


def _ood_axis(axes: Axes) -> None:
    """The same axis on both sides, so that a point can be followed from one to the other."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0, symbol=None))
    axes.grid(axis="y")


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, one: Series) -> None:
    """A point per seed; the best by val is larger and has a ring."""
    name = names.learner(one.learner)
    others = np.arange(len(x)) != one.best
    style: dict[str, Any] = {"marker": name.marker, "linestyle": "none", "color": name.colour, "clip_on": False}
    axes.plot(x[others], y[others], markersize=4.6, markeredgecolor=PAPER, markeredgewidth=0.5, zorder=3, **style)
    axes.plot(x[~others], y[~others], markersize=6.6, markeredgecolor=INK, markeredgewidth=1.1, zorder=3.5, **style)


def _key(figure: Figure, with_paper: bool) -> None:
    """What the marks mean; learners are named below their columns."""
    dot: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": "#999999"}
    handles = [
        Line2D([], [], markersize=4.6, markeredgecolor=PAPER, markeredgewidth=0.5, label="a seed", **dot),
        Line2D([], [], markersize=6.6, markeredgecolor=INK, markeredgewidth=1.1, label="best seed by val", **dot),
        Line2D([], [], color=INK, linewidth=1.4, label="median"),
        Line2D([], [], color="#999999", alpha=0.4, linewidth=7, label="quartile to quartile"),
    ]
    if with_paper:
        handles.append(Line2D([], [], label="the paper’s best seed", **PAPER_MARK))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8, borderaxespad=0.1)


def beeswarm(values: np.ndarray, radius: float = 0.028, step: float = 0.085) -> np.ndarray:
    """Sideways offsets [n] that keep points apart: within `radius` of one another, no two share an offset."""
    offsets = np.zeros(len(values))
    placed: list[int] = []
    for i in np.argsort(values, kind="stable"):
        near = {round(float(offsets[j]) / step) for j in placed if abs(values[j] - values[i]) < radius}
        # 0, 1, −1, 2, −2, …: the nearest free place to the middle
        free = next(k for n in range(len(values)) for k in (n, -n) if k not in near)
        offsets[i] = free * step
        placed.append(int(i))
    return np.clip(offsets, -0.4, 0.4)
