"""sumfirst's formula: which entries of a list the network of n adds, and whether that is proven."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.subject import Subject
from pipeline.templates import Mlp, Theta

LISTS = 10_000  # fresh lists for the fit, and as many others for the check
SOURCE = '''"""The sum of the first entries of a list, as recovered from the weights."""


def answer(n, x):
    """The sum of the first {slope:g} n {shift:+g} entries."""
    return sum(x[: round({slope:g} * n {shift:+g})])
'''


def analyse(subject: Subject) -> Finding:
    """Recover the masked sum that each network computes, and its rule in n from the trained lengths alone.

    Raises `DoesNotApply` for another template, or if fewer than two trained networks pass the gate.
    """
    if not isinstance(subject.template, Mlp) or len(subject.template.sizes) != 3:
        raise DoesNotApply("A masked sum is read off a network with one hidden layer.")
    rows = [_row(subject, k) for k in range(len(subject.intents))]
    table = pd.DataFrame(rows)
    fitted = table[table["trained"] & table["passed"] & table["a prefix"]]
    if len(fitted) < 2:
        raise DoesNotApply("Fewer than two trained networks pass the gate and add a prefix, so there is no rule in n.")
    slope, shift = (round(float(value), 6) + 0.0 for value in np.polyfit(fitted["n"], fitted["terms"], 1))
    table["rule right"] = (np.round(slope * table["n"] + shift) == table["terms"]) & table["a prefix"]
    return Finding(
        "symbolic",
        "Back into the network",
        (subject.gate, *_sentences(table, slope, shift)),
        {"slope": slope, "shift": shift, "proven": int(table["proven"].sum()), "networks": len(table)},
        {"lengths": table},
        {},
        {
            "lengths": f"What the network of each n adds, from {LISTS:,} fresh lists, checked on {LISTS:,} others; "
            "error bound: the largest distance from the sum over all lists, by a sound bound",
            "program": "The symbolic program",
        },
        {"program": SOURCE.format(slope=slope, shift=shift)},
    )


def recovered(subject: Subject, k: int, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """The linear map closest to network k on fresh lists: weights [l], intercept, largest rounding of a weight."""
    x = subject.family.sample(rng, subject.intents[k], min(LISTS, subject.family.space(subject.intents[k])))
    theta = {name: value[k : k + 1].double() for name, value in subject.theta.items()}
    y = subject.template.forward(theta, torch.from_numpy(x)[None].double())[0, :, 0].numpy()
    columns = np.column_stack([x, np.ones(len(x))])
    found = np.linalg.lstsq(columns, y, rcond=None)[0]
    weights: np.ndarray = found[:-1]
    return weights, float(found[-1]), float(np.abs(weights - np.round(weights)).max())


def error_bound(theta: Theta, mask: np.ndarray, low: float, high: float) -> float:
    """A sound bound of |network(x) − Σ mask x| over all x in [low, high]^l, for θ with K = 1 and one hidden layer.

    A ReLU that is not settled on the box is a line plus a bounded error, and lines add up exactly.
    """
    w0, b0, w1, b1 = (theta[name][0].double().numpy() for name in ("W_0", "b_0", "W_1", "b_1"))
    middle, radius = (low + high) / 2, (high - low) / 2
    centre, reach = b0 + middle * w0.sum(0), radius * np.abs(w0).sum(0)
    lower, upper = centre - reach, centre + reach
    width = np.maximum(upper - lower, np.finfo(float).tiny)
    slope = np.where(lower >= 0, 1.0, np.where(upper <= 0, 0.0, upper / width))
    slack = np.where((lower < 0) & (upper > 0), -lower * upper / width, 0.0)  # ReLU lies 0 … slack above slope · z
    line = w0 @ (slope * w1[:, 0]) - mask
    constant = (slope * b0 + slack / 2) @ w1[:, 0] + b1[0] + middle * line.sum()
    return float(abs(constant) + radius * np.abs(line).sum() + np.abs(w1[:, 0]) @ (slack / 2))


def _row(subject: Subject, k: int) -> dict[str, object]:
    intent, family = subject.intents[k], subject.family
    weights, intercept, rounding = recovered(subject, k, np.random.default_rng(1))
    mask = np.round(weights)
    terms = int(mask.sum())
    prefix = bool((mask == (np.arange(len(mask)) < terms)).all())
    x = family.sample(np.random.default_rng(2), intent, min(LISTS, family.space(intent)))
    agree = float((subject.program(k).answers(x)[:, 0] == (x @ mask).astype(int)).mean())
    theta = {name: value[k : k + 1] for name, value in subject.theta.items()}
    bound = error_bound(theta, mask, family.settings.low, family.settings.high)
    return {
        "n": intent.parameter,
        "trained": bool(subject.seen[k]),
        "accuracy": float(subject.accuracy[k]),
        "passed": bool(subject.passed[k]),
        "terms": terms,
        "a prefix": prefix,
        "largest rounding": rounding,
        "intercept": intercept,
        "agrees": agree,
        "error bound": bound,
        "proven": bool(prefix and terms == intent.parameter and bound < 0.5),
    }


def _sentences(table: pd.DataFrame, slope: float, shift: float) -> tuple[str, ...]:
    unseen = table[~table["trained"]]
    new = ", ".join(
        f"n = {row['n']} ({'right' if row['rule right'] else 'not what it adds'})" for row in unseen.to_dict("records")
    )
    prefix = table["a prefix"]
    agrees = table.loc[prefix, "agrees"]
    proven = [str(n) for n in table.loc[table["proven"], "n"]]
    return (
        f"Rounded, the linear map closest to the network is a mask of the first entries for {int(prefix.sum())} of "
        f"{len(table)} lengths{_but(table.loc[~prefix, 'n'])}. On trained lengths that pass the gate it has "
        f"{slope:g} n {shift:+g} entries. That rule on lengths never trained: {new}.",
        f"Where it is such a mask, its sum is the network's own answer on {agrees.min():.2%} to {agrees.max():.2%} of "
        "fresh lists, by length.",
        f"Proven for every list of whole or real numbers in range, by a bound of the network's distance from the sum "
        f"below one half: n = {', '.join(proven)}."
        if proven
        else "Proven for no length: the bound of the network's distance from the sum is one half or more everywhere.",
    )


def _but(lengths: pd.Series) -> str:
    """The lengths that are left out, if there are any."""
    return f" (not for n = {', '.join(map(str, lengths))})" if len(lengths) else ""
