"""Which weights depend on the intent (App. E; Figures 12 and 13)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.subject import Subject
from pipeline.style import RULE, own_style, to_svg

COLUMNS = 4  # of the panels


def analyse(subject: Subject) -> Finding:
    """Standard deviation of every slot across intents, and each tensor's share of the variance.

    Raises `DoesNotApply` for fewer than two intents.
    """
    if len(subject.intents) < 2:
        raise DoesNotApply("Weights of a single intent cannot differ between intents.")
    spreads = {name: value.double().numpy().std(0) for name, value in subject.theta.items()}
    table = per_tensor(spreads)
    return Finding(
        "sensitivity",
        "Which weights depend on the intent",
        _sentences(table, len(subject.intents), subject.family.name),
        {f"share_{row['tensor']}": float(row["share of variance"]) for row in table.to_dict("records")},
        {"tensors": table},
        {"slots": _draw_slots(spreads, subject), "graph": _draw_tensors(spreads, subject)},
        {
            "tensors": "Spread across intents, by tensor",
            "slots": "Standard deviation of every slot across intents, tensor by tensor (Figure 12 of the paper).",
            "graph": "The same weight by weight, each tensor a block of the neural graph in the order of computation; "
            "one scale for all (Figure 13 of the paper). Rows are what a weight reads from, columns what it writes to.",
        },
    )


def per_tensor(spreads: dict[str, np.ndarray]) -> pd.DataFrame:
    """Slots, mean and largest spread, and share of the variance of each tensor, from standard deviations by slot."""
    total = sum(float((spread**2).sum()) for spread in spreads.values())
    rows = [
        [name, spread.size, spread.mean(), spread.max(), float((spread**2).sum()) / total if total > 0 else 0.0]
        for name, spread in spreads.items()
    ]
    return pd.DataFrame(rows, columns=["tensor", "slots", "mean spread", "largest spread", "share of variance"])


def _sentences(table: pd.DataFrame, intents: int, family: str) -> tuple[str, ...]:
    ordered = table.sort_values("share of variance", ascending=False, kind="stable")
    top = ", ".join(f"{row['tensor']} {row['share of variance']:.0%}" for row in ordered.head(3).to_dict("records"))
    first = f"Of the variance of θ across {intents} intents, most is in: {top}."
    if family != "addmod":
        return (first,)
    shares = table.set_index("tensor")["share of variance"]
    ends = shares["W_E"] + shares["W_U"]
    return (
        first,
        f"W_E holds {shares['W_E']:.0%}, W_U {shares['W_U']:.0%} and the rest {1 - ends:.0%}. In the paper only "
        "W_E and W_U change with the prime, and the blocks between them stay as they are.",
    )


def _draw_slots(spreads: dict[str, np.ndarray], subject: Subject) -> str:
    flat = np.concatenate([spread.ravel() for spread in spreads.values()])
    ends = np.cumsum([spread.size for spread in spreads.values()])
    with own_style():
        figure = Figure(figsize=(7.6, 3.0), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            np.arange(len(flat)), flat, linestyle="none", marker=".", markersize=1.6, color="#0072b2", rasterized=True
        )
        start = 0
        for name, end in zip(spreads, ends, strict=True):
            axes.axvline(end, color=RULE, linewidth=0.7, zorder=0)
            if end - start > 0.04 * len(flat):
                axes.annotate(name, ((start + end) / 2, 1), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
            start = int(end)
        axes.set_xlim(0, len(flat))
        axes.set_ylim(0)
        axes.set_xlabel("slot of θ")
        axes.set_ylabel("standard deviation\nacross intents")
        return to_svg(figure, f"Standard deviation of every slot across intents, {subject.name}")


def _draw_tensors(spreads: dict[str, np.ndarray], subject: Subject) -> str:
    largest = max(float(spread.max()) for spread in spreads.values()) or 1.0
    rows = -(-len(spreads) // COLUMNS)
    with own_style():
        figure = Figure(figsize=(7.6, 1.6 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes, (name, spread) in zip(panels, spreads.items(), strict=False):
            image = axes.imshow(
                _matrix(spread), aspect="auto", cmap="Reds", vmin=0, vmax=largest, interpolation="nearest"
            )
            axes.set_title(name)
            axes.set_xticks([])
            axes.set_yticks([])
        for axes in panels[len(spreads) :]:
            axes.axis("off")
        bar = figure.colorbar(image, ax=panels.tolist(), shrink=0.8)
        bar.set_label("standard deviation\nacross intents")
        return to_svg(figure, f"Standard deviation across intents, tensor by tensor, {subject.name}")


def _matrix(spread: np.ndarray) -> np.ndarray:
    """A tensor as rows and columns; heads stand below each other."""
    return spread.reshape(-1, spread.shape[-1])
