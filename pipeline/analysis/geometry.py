"""Geometry of the embeddings, per prime and across primes (§5.3, §D.1, App. E; Figures 3, 9 and 14)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.analysis.components import Components, components, flat, primes_of, used
from pipeline.analysis.finding import Finding
from pipeline.analysis.subject import Subject
from pipeline.style import INK, PAPER, RULE, own_style, to_svg

SHOWN = 83  # the prime of the paper's Figure 3


def analyse(subject: Subject) -> Finding:
    """Principal components of W_E and W_U for each prime, and of W_E(p) over all primes.

    Raises `DoesNotApply` where there is no modular addition by a Transformer.
    """
    primes = primes_of(subject)
    table = per_prime(subject, primes)
    everywhere = components(flat(subject, "W_E"))
    scores = everywhere.scores(flat(subject, "W_E"))
    shown = _shown(primes, subject.seen)
    numbers: dict[str, float | int | str | None] = {
        "pc1_explained": float(everywhere.explained[0]),
        "pc2_explained": float(everywhere.explained[1]),
        "w_e_two_components": float(table["W_E PC1+PC2"].mean()),
        "w_u_two_components": float(table["W_U PC1+PC2"].mean()),
    }
    return Finding(
        "geometry",
        "Geometry of the embeddings",
        _sentences(table, everywhere, len(primes)),
        numbers,
        {"primes": table},
        {
            "intent": _draw_intent(subject, shown, primes),
            "trajectory": _draw_trajectory(scores, everywhere, primes, subject.seen),
        },
        {
            "primes": "Share of the variance of W_E and W_U in their first two principal components, per prime",
            "intent": f"Tokens 0 … {primes[shown] - 1} of p = {primes[shown]} "
            f"({'trained' if subject.seen[shown] else 'never trained'}) in the first two principal components of W_E "
            "and W_U; the lighter, the smaller; the line joins a to a + 1 (Figures 3, left, and 9 of the paper).",
            "trajectory": "W_E(p), flattened, of all primes in its first two principal components; stars are primes "
            "that were never trained (Figures 3, right, and 14 of the paper).",
        },
    )


def per_prime(subject: Subject, primes: np.ndarray) -> pd.DataFrame:
    """For each prime, the share of the variance of its used rows in two components."""
    rows = []
    for k, p in enumerate(primes):
        shares = [components(used(subject, name, k)).explained[:2].sum() for name in ("W_E", "W_U")]
        rows.append([int(p), bool(subject.seen[k]), float(subject.accuracy[k]), *map(float, shares)])
    return pd.DataFrame(rows, columns=["p", "trained", "accuracy", "W_E PC1+PC2", "W_U PC1+PC2"])


def _shown(primes: np.ndarray, seen: np.ndarray) -> int:
    """The paper's prime if it was never trained, else the largest that was not, else the largest."""
    unseen = np.flatnonzero(~seen)
    paper = [k for k in unseen if primes[k] == SHOWN]
    return int(paper[0] if paper else unseen[-1] if len(unseen) else len(primes) - 1)


def _sentences(table: pd.DataFrame, everywhere: Components, count: int) -> tuple[str, ...]:
    unseen = table[~table["trained"]]
    first, second = everywhere.explained[:2]
    return (
        f"Across {count} primes W_E(p) moves along one curve: the first principal component holds {first:.2%} of its "
        f"variance, the second {second:.2%}, all others together {1 - first - second:.2g}.",
        f"Within a prime, two components hold {table['W_E PC1+PC2'].mean():.0%} of W_E's variance over tokens "
        f"({unseen['W_E PC1+PC2'].mean():.0%} on primes never trained) and {table['W_U PC1+PC2'].mean():.0%} of W_U's; "
        "one pure circle would hold all of it, several circles share it.",
    )


def _draw_intent(subject: Subject, k: int, primes: np.ndarray) -> str:
    with own_style():
        figure = Figure(figsize=(7.6, 3.7), layout="constrained")
        for axes, name in zip(figure.subplots(1, 2), ("W_E", "W_U"), strict=True):
            points = used(subject, name, k)
            found = components(points)
            _scatter(axes, found.scores(points)[:, :2], found, name)
        return to_svg(figure, f"Tokens of p = {primes[k]} in two principal components, {subject.name}")


def _scatter(axes: Axes, at: np.ndarray, found: Components, name: str) -> None:
    axes.plot(at[:, 0], at[:, 1], color=RULE, linewidth=0.6, zorder=1)
    order = np.arange(len(at))
    axes.scatter(at[:, 0], at[:, 1], 22, order, cmap="viridis_r", edgecolors=PAPER, linewidths=0.4, zorder=2)
    for token in (0, 1, 2):
        axes.annotate(str(token), at[token], xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_title(name)
    axes.set_xlabel(f"PC1 ({found.explained[0]:.0%} of the variance)")
    axes.set_ylabel(f"PC2 ({found.explained[1]:.0%})")
    axes.set_aspect("equal", adjustable="datalim")


def _draw_trajectory(scores: np.ndarray, found: Components, primes: np.ndarray, seen: np.ndarray) -> str:
    with own_style():
        figure = Figure(figsize=(7.6, 3.7), layout="constrained")
        axes = figure.subplots()
        axes.plot(scores[:, 0], scores[:, 1], color=RULE, linewidth=0.8, zorder=1)
        marks: list[tuple[np.ndarray, dict[str, Any]]] = [
            (seen, {"marker": "o", "s": 26, "color": "#0072b2", "label": "trained"}),
            (~seen, {"marker": "*", "s": 90, "color": "#d55e00", "label": "never trained"}),
        ]
        for chosen, style in marks:
            axes.scatter(scores[chosen, 0], scores[chosen, 1], edgecolors=INK, linewidths=0.5, zorder=2, **style)
        for p, at in zip(primes, scores, strict=True):
            axes.annotate(str(p), at[:2], xytext=(0, 7), textcoords="offset points", fontsize=7.5, ha="center")
        axes.margins(y=0.15)
        axes.set_xlabel(f"PC1 of W_E(p) over primes ({found.explained[0]:.2%} of the variance)")
        axes.set_ylabel(f"PC2 ({found.explained[1]:.2%})")
        axes.legend(frameon=False)
        return to_svg(figure, "W_E(p) of all primes in two principal components")
