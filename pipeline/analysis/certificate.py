"""Certificates (App. A): how far θ may move before an answer changes, and whether rounding it stays within."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.analysis.attack import nearest_found
from pipeline.analysis.certified import Checked, check
from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.quantization import FORMATS, distance, to_bits
from pipeline.analysis.subject import GATE, Subject
from pipeline.style import INK, RULE, own_style, to_svg
from pipeline.templates import Transformer

FLOAT32_BITS, FEWEST_BITS = 24, 4
MOST_LETTERS = 110  # of upright labels below the axis
SERIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("int8 distance", "rounding to int8 moves θ this far", {"marker": "^", "color": "#0072b2"}),
    ("bfloat16 distance", "rounding to bfloat16 moves θ this far", {"marker": "s", "color": "#009e73"}),
    ("change found at", "here a right answer does change (found by gradient)", {"marker": "x", "color": "#d55e00"}),
    ("radius", "certified: below this no right answer changes", {"marker": "o", "color": INK}),
)
TABLE_CAPTION = (
    "Margins and certificates by intent. margin: γ(u) of App. A.4, the least lead of the right answer over the inputs, "
    "negative where an answer is wrong (of numbers, 0.5 less the error); margin of right answers: the same over the "
    "inputs answered rightly. radius: certified distance of θ below which no right answer changes; radius of all "
    "answers: below which no answer changes, right or wrong. change found at: a distance at which a right answer does "
    "change. Distances are ‖·‖_par, the sum of the tensors’ Frobenius norms. covered: certified from the move of each "
    "tensor; bits certified: fewest significant bits to which all weights may be rounded (float32 has 24)."
)


def analyse(subject: Subject) -> Finding:
    """Margin, certified radius and the effect of rounding of every intent. Raises `DoesNotApply` if none classifies."""
    if not subject.passed.any():
        raise DoesNotApply(f"No intent's network is right on {GATE:.0%} of its inputs, so there is little to certify.")
    table = pd.DataFrame([_row(subject, k) for k in range(len(subject.intents))])
    passed = table[subject.passed]
    return Finding(
        "certificate",
        "Certificates",
        (*_sentences(subject, table, passed), *_rounding(passed)),
        _numbers(passed),
        {"certificates": table},
        {"radius": _draw(passed)},
        {"certificates": TABLE_CAPTION, "radius": _caption(passed)},
    )


def _row(subject: Subject, k: int) -> dict[str, Any]:
    program = subject.program(k)
    checked = check(program, np.random.default_rng(0))
    rounded = {name: to(program.theta) for name, to in FORMATS.items()}
    bits, covered = _certified(checked, list(rounded.values()))
    row: dict[str, Any] = {
        "intent": str(subject.intents[k]),
        "trained": "yes" if subject.seen[k] else "no",
        "accuracy": subject.accuracy[k],
        "inputs": len(checked.x),
        "exhaustive": "yes" if checked.exhaustive else "no",
        "margin": checked.margin,
        "margin of right answers": checked.margin_right,
        "radius": checked.radius,
        "radius of all answers": checked.radius_any,
        "change found at": nearest_found(checked),
        "bits certified": bits,
    }
    for (name, there), is_covered in zip(rounded.items(), covered, strict=True):
        row[f"{name} distance"] = distance(program.theta, there)
        row[f"{name} covered"] = "yes" if is_covered else "no"
        row[f"{name} changed"] = checked.changed(there)
    return row


def _certified(checked: Checked, rounded: list[dict[str, Any]]) -> tuple[int | None, list[bool]]:
    """The fewest significant bits that are covered, with all above them; and which of the rounded θ are covered."""
    bits = range(FLOAT32_BITS - 1, FEWEST_BITS - 1, -1)
    covered = checked.covers(*rounded, *(to_bits(checked.program.theta, b) for b in bits))
    of_bits = covered[len(rounded) :]
    kept = of_bits.index(False) if False in of_bits else len(of_bits)
    return FLOAT32_BITS - kept, covered[: len(rounded)]


def _sentences(subject: Subject, table: pd.DataFrame, passed: pd.DataFrame) -> list[str]:
    n, of = len(passed), len(table)
    below = "" if n == of else f"; the other {of - n} are in the table only, and none of what follows speaks of them"
    exhaustive = (passed["exhaustive"] == "yes").all()
    inputs = (
        "all inputs" if exhaustive else f"{passed['inputs'].max():,} random inputs each (seed 0), not all there are"
    )
    perfect = int((passed["margin"] > 0).sum())
    only = "" if perfect == n else " Of the others the right answers alone are certified."
    scope = "" if exhaustive else " It holds for the inputs tried; nothing is proven of others."
    through = ", carried through attention" if isinstance(subject.template, Transformer) else ""
    unseen = int((passed["trained"] == "no").sum())
    loose = (passed["change found at"] / passed["radius"].where(passed["radius"] > 0)).dropna()
    return [
        f"Of {of} intents, {n} have a network of accuracy {GATE} or more ({unseen} of them never trained){below}.",
        f"The margin γ, over {inputs}, is {_spread(passed['margin'])}; it is positive, so that every answer is right, "
        f"in {perfect} of {n}.{only}",
        f"Certified radius in θ: {_spread(passed['radius'])}. As long as the weights move less, in whatever direction, "
        f"no right answer changes. This is proven by layerwise norms (equation 3 of App. A.7{through}), in exact "
        f"arithmetic: the bound is computed in double precision and leaves out the rounding of the run itself.{scope}",
        f"How loose that is: a right answer was found to change, along a gradient, at a multiple of the certified "
        f"radius that is {_spread(loose)}. The true radius is no larger than that.",
    ]


def _rounding(passed: pd.DataFrame) -> list[str]:
    n, said = len(passed), []
    for name in FORMATS:
        far, changed = passed[f"{name} distance"], passed[f"{name} changed"]
        covered = int((passed[f"{name} covered"] == "yes").sum())
        beyond = int((far > passed["change found at"]).sum())
        said.append(
            f"Rounding to {name} moves θ by {_spread(far)}. The certificate covers it in {covered} of {n} intents; in "
            f"fact no answer changes in {int((changed == 0).sum())} of {n}, and {int(changed.sum()):,} of "
            f"{int(passed['inputs'].sum()):,} answers change in all. In {beyond} of {n} this is farther than "
            f"the change found, so that no radius, which counts the worst direction, could cover it."
        )
    bits = passed["bits certified"]
    said.append(
        f"The fewest significant bits to which rounding all weights is certified are {_spread(bits)}; float32 has "
        f"{FLOAT32_BITS}, bfloat16 8. Rounding is certified from how far it moves each tensor, which can go beyond "
        f"the radius."
    )
    return said


def _spread(values: pd.Series) -> str:
    return f"{values.median():.3g} in the median intent ({values.min():.3g} to {values.max():.3g})"


def _numbers(passed: pd.DataFrame) -> dict[str, float | int | str | None]:
    numbers: dict[str, float | int | str | None] = {
        "intents": len(passed),
        "perfect": int((passed["margin"] > 0).sum()),
        "margin_median": float(passed["margin"].median()),
        "radius_median": float(passed["radius"].median()),
        "radius_least": float(passed["radius"].min()),
        "change_found_at_median": float(passed["change found at"].median()),
        "bits_certified_median": float(passed["bits certified"].median()),
    }
    for name in FORMATS:
        numbers[f"{name}_distance_median"] = float(passed[f"{name} distance"].median())
        numbers[f"{name}_covered"] = int((passed[f"{name} covered"] == "yes").sum())
        numbers[f"{name}_unchanged"] = int((passed[f"{name} changed"] == 0).sum())
    return numbers


def _caption(passed: pd.DataFrame) -> str:
    shaded = " Shaded: intents never trained." if (passed["trained"] == "no").any() else ""
    return (
        "Distances in θ (App. A; the paper has no such figure): up to the dots, no right answer changes, which is "
        "proven; at the crosses one does. Between them nothing is known of the worst direction." + shaded
    )


def _draw(passed: pd.DataFrame) -> str:
    labels = list(passed["intent"])
    slanted = len(labels) * max(map(len, labels)) > MOST_LETTERS
    with own_style():
        figure = Figure(figsize=(7.6, 4.2 if slanted else 3.6))
        axes = figure.add_axes((0.09, 0.37, 0.9, 0.6) if slanted else (0.09, 0.27, 0.9, 0.7))
        place = np.arange(len(passed))
        for i in np.flatnonzero(passed["trained"] == "no"):
            axes.axvspan(i - 0.5, i + 0.5, color=RULE, alpha=0.6, linewidth=0)
        for column, label, style in SERIES:
            values = passed[column].where(passed[column] > 0)
            axes.plot(place, values, linestyle="none", markersize=5, label=label, **style)
        axes.set_yscale("log")
        axes.set_xlim(-0.6, len(passed) - 0.4)
        slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(place, labels, **slant)
        axes.set_ylabel("distance in θ, sum of Frobenius norms")
        axes.grid(axis="y")
        figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=8, borderaxespad=0.1)
        return to_svg(figure, "Certified radius against the distances of rounding, by intent")
