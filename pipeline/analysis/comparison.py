"""Runs of one family side by side: circles, distance between seeds, and accuracy on the straight line between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline import names
from pipeline.analysis.canonical import distance, matched
from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.subject import GATE, Subject
from pipeline.graph import from_template
from pipeline.style import INK, own_style, to_svg
from pipeline.templates import Theta

RUNS = 20
# Of each group: an accuracy of arc1d takes half a second, and a pair needs six.
PAIRS = 3
ACROSS = ("meta_mlp", "meta_gnn")
AGAINST = "_vs_"
POSITIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
ENERGY = 0.9


def analyse(subjects: Sequence[Subject]) -> Finding:
    """What runs have in common: pairs of neighbouring seeds of each learner, and pairs of Meta-MLP and Meta-GNN.

    Raises `DoesNotApply` if fewer than two runs write the same template for the same intents.
    """
    runs = _comparable(subjects)
    if len(runs) < 2:
        raise DoesNotApply("Fewer than two runs write weights of the same template for the same intents.")
    chosen = _pairs(runs)
    if not chosen:
        raise DoesNotApply("No learner has two seeds, and Meta-MLP and Meta-GNN are not both there.")
    table = pd.DataFrame([_of_run(run) for run in runs])
    measured = [_of_pair(group, *pair) for group, pair in chosen]
    pairs, lines = pd.DataFrame([one for one, _ in measured]), pd.concat([line for _, line in measured])
    return Finding(
        "comparison",
        "Runs side by side",
        _sentences(table, pairs, len(subjects)),
        _numbers(table, pairs),
        {"runs": table, "pairs": pairs},
        {"lines": _draw(lines, runs[0].family.name)},
        {
            "runs": "Accuracy: mean over intents. Circles: Fourier frequencies that hold "
            f"{ENERGY:.0%} of the centred energy of W_E, mean over the primes that pass the gate.",
            "pairs": "Distance: ‖θ₁ − θ₂‖ over all intents and slots (also those that an intent does not use), "
            "divided by the mean of the two norms (√2 if orthogonal), "
            "as written and with the second run's neurons reordered (matched); the same before training. Lowest: the "
            "lowest mean accuracy at t = 0.25, 0.5 and 0.75 of the straight line between the two.",
            "lines": "Accuracy, mean over all intents, of the weights (1 − t) θ₁ + t θ₂ between two runs: as written "
            "(dashed) and after the best order of neurons that was found (solid). A line per pair.",
        },
    )


def circles(embeddings: np.ndarray) -> int:
    """How many Fourier frequencies hold 90 % of the energy of centred token embeddings [p, d]."""
    power = (np.abs(np.fft.rfft(embeddings, axis=0)[1:]) ** 2).sum(1)
    share = np.cumsum(np.sort(power)[::-1]) / power.sum()
    return int(np.searchsorted(share, ENERGY) + 1)


def line(first: Subject, second: Subject, theta: Theta) -> np.ndarray:
    """Mean accuracy over intents at each of `POSITIONS` from the first run's weights to θ, as the second computes."""
    between = [{n: (1 - t) * first.theta[n] + t * theta[n] for n in theta} for t in POSITIONS[1:-1]]
    inner = [first.accuracy_of(mixed).mean() for mixed in between]
    # The ends need no new run: an order of neurons changes no answer.
    return np.array([first.accuracy.mean(), *inner, second.accuracy.mean()])


def _comparable(subjects: Sequence[Subject]) -> list[Subject]:
    """The first seeds of each learner, of runs like the first one."""
    by_learner: dict[str, list[Subject]] = defaultdict(list)
    for run in sorted(subjects, key=lambda run: run.config["seed"]):
        if run.template.spec() == subjects[0].template.spec() and run.intents == subjects[0].intents:
            by_learner[run.config["learner"]].append(run)
    share = max(2, RUNS // max(1, len(by_learner)))
    order = [name for name in names.LEARNERS if name in by_learner]
    return [run for name in dict.fromkeys([*order, *sorted(by_learner)]) for run in by_learner[name][:share]]


def _pairs(runs: list[Subject]) -> list[tuple[str, tuple[Subject, Subject]]]:
    """Pairs with the name of their group: a learner, or two learners with `AGAINST` between."""
    of: dict[str, list[Subject]] = defaultdict(list)
    for run in runs:
        of[run.config["learner"]].append(run)
    same = [(learner, pair) for learner, some in of.items() for pair in list(pairwise(some))[:PAIRS]]
    across = list(zip(*(of[learner] for learner in ACROSS), strict=False))[:PAIRS]
    return same + [(AGAINST.join(ACROSS), pair) for pair in across]


def _of_run(run: Subject) -> dict[str, object]:
    row: dict[str, object] = {
        "learner": run.config["learner"],
        "seed": run.config["seed"],
        "accuracy_trained": _mean(run.accuracy[run.seen]),
        "accuracy_unseen": _mean(run.accuracy[~run.seen]),
        "passed": int(run.passed.sum()),
        "intents": len(run.intents),
    }
    if run.family.name == "addmod":
        primes = [intent.parameter for intent in run.intents]
        for column, theta in (("circles", run.theta), ("circles_untrained", run.untrained)):
            found = np.array([circles(theta["W_E"][k, :p].double().numpy()) for k, p in enumerate(primes)])
            row[column] = _mean(found[run.passed])
    return row


def _of_pair(group: str, first: Subject, second: Subject) -> tuple[dict[str, object], pd.DataFrame]:
    """The pair's row of the table, and accuracy along the line between the two."""
    graph = from_template(first.template)
    nearest = matched(graph, first.theta, second.theta)
    before, after = line(first, second, second.theta), line(first, second, nearest)
    row = {
        "group": group,
        "first": first.name,
        "second": second.name,
        "distance": distance(first.theta, second.theta),
        "distance_matched": distance(first.theta, nearest),
        "untrained": distance(first.untrained, second.untrained),
        "untrained_matched": distance(first.untrained, matched(graph, first.untrained, second.untrained)),
        "lower_end": min(before[0], before[-1]),
        "lowest": before[1:-1].min(),
        "lowest_matched": after[1:-1].min(),
    }
    who = {"group": group, "pair": f"{first.name}, {second.name}"}
    return row, pd.DataFrame({**who, "t": POSITIONS, "accuracy": before, "accuracy_matched": after})


def _numbers(table: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, float | int | str | None]:
    numbers: dict[str, float | int | str | None] = {"runs": len(table), "pairs": len(pairs)}
    if "circles" in table:
        for learner, rows in table.groupby("learner", sort=False):
            numbers[f"{learner}_circles"] = float(rows["circles"].mean())
    for group, rows in pairs.groupby("group", sort=False):
        for column in ("distance", "distance_matched", "untrained_matched", "lowest", "lowest_matched"):
            numbers[f"{group}_{column}"] = float(rows[column].mean())
    return numbers


def _sentences(table: pd.DataFrame, pairs: pd.DataFrame, given: int) -> tuple[str, ...]:
    first = f"{len(table)} runs, {len(pairs)} pairs: neighbouring seeds of each learner, and Meta-MLP against Meta-GNN."
    if left_out := given - len(table):
        first += f" {left_out} of the {given} given are left out: further seeds, or another template or other intents."
    said = [
        first,
        "One order of neurons is sought for all intents of a run: of MLP neurons, attention heads, dimensions within "
        "heads, and residual dimensions, as far as changing it changes no answer. It is a local optimum, so the "
        "true distances may be smaller. Reordering brings any two sets of weights nearer, also untrained ones: "
        "those are the control.",
    ]
    if "circles" in table:
        for learner, rows in table.groupby("learner", sort=False):
            said.append(_said_of_circles(str(learner), rows))
    for group, rows in pairs.groupby("group", sort=False):
        said.append(
            f"{_label(str(group))}: distance {_spread(rows['distance'])} as written, "
            f"{_spread(rows['distance_matched'])} matched (before training {_spread(rows['untrained'])} and "
            f"{_spread(rows['untrained_matched'])}); lowest accuracy between the two {_spread(rows['lowest'])} as "
            f"written, {_spread(rows['lowest_matched'])} matched, where the worse end has {_spread(rows['lower_end'])}."
        )
    return tuple(said)


def _said_of_circles(learner: str, rows: pd.DataFrame) -> str:
    label, counted = _label(learner), rows.dropna(subset="circles")
    if not len(counted):
        return f"{label}: no network reaches an accuracy of {GATE}, so its circles are not counted."
    return (
        f"{label}: {_spread(counted['circles'], 1)} circles hold {ENERGY:.0%} of the energy of W_E "
        f"(mean over primes; {_spread(counted['circles_untrained'], 1)} before training; "
        f"{len(counted)} of {len(rows)} runs have networks that pass)."
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _label(group: str) -> str:
    return " against ".join(names.learner(learner).label for learner in group.split(AGAINST))


def _spread(values: pd.Series, digits: int = 2) -> str:
    mean = f"{values.mean():.{digits}f}"
    return f"{mean} ± {values.std(ddof=0):.{digits}f}" if len(values) > 1 else mean


def _draw(lines: pd.DataFrame, family: str) -> str:
    """A panel per group of pairs."""
    groups = list(lines.groupby("group", sort=False))
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    with own_style():
        figure = Figure(figsize=(7.6, 0.55 + 1.95 * rows))
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes, (group, of_group) in zip(panels, groups, strict=False):
            look = names.learner(str(group).split(AGAINST)[0])
            for _, pair in of_group.groupby("pair", sort=False):
                shared = {
                    "color": INK if AGAINST in str(group) else look.colour,
                    "clip_on": False,
                    "markersize": 4.5,
                    "linewidth": 1.1,
                }
                axes.plot(pair["t"], pair["accuracy"], "--o", markerfacecolor="none", **shared)
                axes.plot(pair["t"], pair["accuracy_matched"], "-s", **shared)
            axes.set_title(_label(str(group)))
            axes.set_ylim(-0.03, 1.03)
            axes.set_yticks(np.linspace(0, 1, 6))
            axes.set_xticks(POSITIONS, [f"{t:g}" for t in POSITIONS])
            axes.grid(axis="y")
        for axes in panels[len(groups) :]:
            axes.set_visible(False)
        for axes in panels[max(0, len(groups) - columns) : len(groups)]:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("t, from the first run to the second")
        for axes in panels[::columns]:
            axes.set_ylabel("accuracy")
        handles = [
            Line2D([], [], color=INK, linestyle="--", marker="o", markerfacecolor="none", label="as written"),
            Line2D([], [], color=INK, linestyle="-", marker="s", label="neurons matched"),
        ]
        figure.tight_layout(rect=(0, 0.36 / figure.get_figheight(), 1, 1))
        figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=8)
        return to_svg(figure, f"{names.family(family).label}: accuracy on the straight line between two runs")
