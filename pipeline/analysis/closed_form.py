"""A closed form of p ↦ W_E(p), found on trained primes and scored on the others (§5.3, App. E)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.analysis.components import Components, components, flat, primes_of
from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.grammar import VARIABLES, Formula, Variable, cosines, fit, grammar, left_out, parabola_of, r2
from pipeline.analysis.subject import Subject
from pipeline.style import INK, RULE, own_style, to_svg

FEWEST = 8  # trained intents for a fit
# R² of left-out values that a formula must reach to be preferred for being short: it goes back into networks.
GOOD = 0.999
CLOSED = 0.9  # R² on trained primes below which there is no closed form
PAPER = "PC1 = 23.43 cos(5.672/p + 3.631); PC2 by even powers of that cosine and odd corrections; overall R² > 0.94"


def analyse(subject: Subject) -> Finding:
    """Formulas of PC₁(p) and PC₂(p) of W_E: the paper's, and the shortest of the grammar that predicts left-out primes.

    Raises `DoesNotApply` where there is no modular addition by a Transformer, or too few trained primes.
    """
    primes, seen = primes_of(subject).astype(float), subject.seen
    if seen.sum() < FEWEST:
        raise DoesNotApply(f"A fit needs at least {FEWEST} trained primes; there are {seen.sum()}.")
    space, scores = trajectory(subject, "W_E")
    rows, fitted = [], []
    for i in range(2):
        paper = _paper(primes[seen], scores[seen])[i]
        best = choose(primes[seen], scores[seen, i], VARIABLES[subject.scale])
        fitted += [(f"PC{i + 1}", "paper's", paper), (f"PC{i + 1}", "ours", best)]
        rows += [_row(*each, primes, scores[:, i], seen) for each in fitted[-2:]]
    chosen = [one for _, who, one in fitted if who == "ours"]
    table = pd.DataFrame(rows)
    return Finding(
        "closed_form",
        "Closed form",
        _sentences(table, chosen, space, subject),
        _numbers(table),
        {"formulas": table, "parameters": _parameters(fitted)},
        {"fit": _draw(primes, scores, seen, chosen, subject.name)},
        {
            "formulas": "The paper's family and the chosen formula, fitted on trained primes; "
            f"s = {VARIABLES[subject.scale].text}",
            "parameters": "The numbers of these formulas with 95 % intervals",
            "fit": "PC1 and PC2 of W_E(p), and one against the other; lines are the chosen formulas, stars primes that "
            "were never trained and took no part in components or fit (Figure 14 of the paper).",
        },
    )


def trajectory(subject: Subject, name: str) -> tuple[Components, np.ndarray]:
    """Principal components of a tensor over the trained intents, and the scores [K, m] of all intents in them."""
    points = flat(subject, name)
    space = components(points[subject.seen])
    return space, space.scores(points)


def choose(p: np.ndarray, y: np.ndarray, s: Variable) -> Formula:
    """The shortest formula that predicts left-out values with R² ≥ `GOOD`, else the one that predicts them best."""
    fits = [(fit(shape, p, y), left_out(shape, p, y)) for shape in grammar(s)]
    good = [one for one, score in fits if score >= GOOD]
    if good:
        return min(good, key=lambda one: one.length)
    return max(fits, key=lambda pair: pair[1])[0]


def _paper(p: np.ndarray, scores: np.ndarray) -> tuple[Formula, Formula]:
    """The paper's family: PC₁ by one cosine of r/p, PC₂ by powers of that cosine."""
    first = fit(cosines(1), p, scores[:, 0])
    return first, fit(parabola_of(first), p, scores[:, 1])


def _row(name: str, who: str, one: Formula, p: np.ndarray, y: np.ndarray, seen: np.ndarray) -> dict[str, object]:
    held_out = r2(y[~seen], one(p[~seen])) if (~seen).sum() > 1 else float("nan")
    return {
        "component": name,
        "family": who,
        "shape": one.shape.name,
        "numbers": one.length,
        "R² trained": r2(y[seen], one(p[seen])),
        "R² held out": held_out,
        "formula": str(one),
    }


def _parameters(fitted: list[tuple[str, str, Formula]]) -> pd.DataFrame:
    rows = [[name, who, *parameter] for name, who, one in fitted for parameter in one.parameters]
    return pd.DataFrame(rows, columns=["component", "family", "term", "value", "± (95 %)"])


def _numbers(table: pd.DataFrame) -> dict[str, float | int | str | None]:
    keys = {"paper's": "paper", "ours": "ours"}
    return {
        f"{row['component'].lower()}_{keys[row['family']]}_{split.replace(' ', '_')}": float(row[f"R² {split}"])
        for row in table.to_dict("records")
        for split in ("trained", "held out")
    }


def _sentences(table: pd.DataFrame, chosen: list[Formula], space: Components, subject: Subject) -> tuple[str, ...]:
    ours = table[table["family"] == "ours"].set_index("component")
    theirs = table[table["family"] == "paper's"].set_index("component")
    rest = 1 - space.explained[:2].sum()
    lines = [
        f"Components and formulas are fitted on {int(subject.seen.sum())} trained primes and scored on "
        f"{int((~subject.seen).sum())} others. PC1 and PC2 leave {rest:.1g} of the trained variance of W_E(p)."
    ]
    for name in ("PC1", "PC2"):
        if ours.loc[name, "R² trained"] < CLOSED:
            lines.append(f"{name} has no closed form here: the best formula has R² {ours.loc[name, 'R² trained']:.2f}.")
            continue
        lines.append(
            f"{name}(p) = {ours.loc[name, 'formula']}, with s = {VARIABLES[subject.scale].text}: "
            f"R² {ours.loc[name, 'R² held out']:.4f} on held-out primes, {ours.loc[name, 'numbers']} numbers. "
            f"The paper's family ({theirs.loc[name, 'numbers']} numbers): {theirs.loc[name, 'R² held out']:.4f}."
        )
    return (*lines, subject.gate, f"The paper prints {PAPER}.")


def _draw(p: np.ndarray, scores: np.ndarray, seen: np.ndarray, chosen: list[Formula], name: str) -> str:
    fine = np.linspace(p.min(), p.max(), 300)
    curves = [one(fine) for one in chosen]
    with own_style():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        panels = figure.subplots(1, 3)
        for i in range(2):
            _panel(panels[i], fine, curves[i], p, scores[:, i], seen)
            panels[i].set_xlabel("prime p")
            panels[i].set_ylabel(f"PC{i + 1} of W_E(p)")
        _panel(panels[2], curves[0], curves[1], scores[:, 0], scores[:, 1], seen)
        panels[2].set_xlabel("PC1")
        panels[2].set_ylabel("PC2")
        return to_svg(figure, f"Closed form of W_E(p), {name}")


def _panel(
    axes: Axes, curve_x: np.ndarray, curve_y: np.ndarray, x: np.ndarray, y: np.ndarray, seen: np.ndarray
) -> None:
    axes.plot(curve_x, curve_y, color=INK, linewidth=0.9, zorder=1)
    axes.scatter(x[seen], y[seen], 18, "#0072b2", marker="o", edgecolors=RULE, linewidths=0.4, zorder=2)
    axes.scatter(x[~seen], y[~seen], 70, "#d55e00", marker="*", edgecolors=INK, linewidths=0.5, zorder=3)
