"""Clock metrics of addmod (Zhong et al. 2023, Definitions 4.1, 4.2 and B.1): does the network turn a clock's hand?"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.subject import GATE, Subject
from pipeline.style import INK, PAPER, own_style, to_svg
from pipeline.templates import Theta, Transformer

TRIPLES = 100
TRIPLES_SEED = 42
COMPONENTS = 4
# How each is called, and what its axis says.
METRICS = {
    "symmetricity": ("gradient symmetricity", "mean cosine"),
    "irrelevance": ("distance irrelevance", "ratio of standard deviations"),
    "circularity": ("circularity", "share of power at one frequency"),
}


def analyse(subject: Subject) -> Finding:
    """The three metrics of every prime, beside those of the same learner before training.

    Raises `DoesNotApply` where there is no modular addition by a Transformer.
    """
    template = subject.template
    if subject.family.name != "addmod" or not isinstance(template, Transformer):
        raise DoesNotApply("The clock metrics are defined for modular addition by a Transformer only.")
    primes = [intent.parameter for intent in subject.intents]
    table = pd.DataFrame({"p": primes, "trained": subject.seen, "accuracy": subject.accuracy, "passed": subject.passed})
    table = table.join(metrics(template, subject.theta, primes))
    # Noise, whose circularity hangs on the last digits of θ: three are what it is worth.
    table = table.join(metrics(template, subject.untrained, primes).round(3).add_suffix("_untrained"))
    return Finding(
        "clock",
        "Clock metrics",
        _sentences(table),
        _numbers(table),
        {"metrics": table},
        {"metrics": _draw(table, subject.name)},
        {
            "metrics": "Clock metrics per prime p (§D.1; no figures in the paper). Circles: trained primes; squares: "
            f"unseen primes; hollow: networks below the gate of {GATE}; crosses: the same learner before training. "
            "In the table, columns that end in _untrained are those of the learner before training."
        },
    )


def metrics(template: Transformer, theta: Theta, primes: list[int]) -> pd.DataFrame:
    """One row per prime, one column per metric, from θ [K, …] of K primes, in double precision."""
    theta = {name: value.double() for name, value in theta.items()}
    logits = [correct_logits(template, {n: v[k : k + 1] for n, v in theta.items()}, p) for k, p in enumerate(primes)]
    embeddings = theta["W_E"].numpy()
    return pd.DataFrame(
        {
            "symmetricity": gradient_symmetricity(template, theta, primes),
            "irrelevance": [distance_irrelevance(one) for one in logits],
            "circularity": [circularity(embeddings[k, :p]) for k, p in enumerate(primes)],
        }
    )


@cache
def triples(p: int) -> np.ndarray:
    """The first 100 of all (a, b, c) [100, 3], in lexicographic order, shuffled with seed 42 (all 27 if p = 3)."""
    # Numbers in place of tuples: `shuffle` moves them alike, and they take less memory.
    order = list(range(p**3))
    random.Random(TRIPLES_SEED).shuffle(order)
    first = np.array(order[:TRIPLES])
    return np.stack([first // p**2, first // p % p, first % p], 1)


def gradient_symmetricity(template: Transformer, theta: Theta, primes: list[int]) -> np.ndarray:
    """Mean over triples of cos(∂Q_abc/∂E_a, ∂Q_abc/∂E_b) [K]: 1 if the logits see E_a + E_b only (Definition 4.1).

    The token embeddings of the two positions are separate leaves, before any positional embedding.
    """
    n = min(TRIPLES, min(primes) ** 3)
    abc = torch.from_numpy(np.stack([triples(p)[:n] for p in primes]))  # [K, n, 3]
    which = torch.arange(len(primes))[:, None, None]
    leaves = theta["W_E"][which, abc[:, :, :2]].detach().requires_grad_()  # [K, n, 2, d]
    with torch.enable_grad():
        logits = _from_embeddings(template, theta, leaves)  # [K, n, v]
        (gradient,) = torch.autograd.grad(logits.gather(-1, abc[:, :, 2:]).sum(), leaves)
    return F.cosine_similarity(gradient[:, :, 0], gradient[:, :, 1], dim=-1).mean(1).double().numpy()


def _from_embeddings(template: Transformer, theta: Theta, tokens: Tensor) -> Tensor:
    """Logits [K, n, v] at the last position from token embeddings [K, n, 2, d]; `Transformer.forward` from there on."""
    stream = tokens + theta["W_pos"][:, None, :2] if template.config.positional else tokens
    keys, values = template.project(theta, stream, "K"), template.project(theta, stream, "V")
    last = stream[:, :, -1:]
    return template.finish(theta, last, template.attend(template.project(theta, last, "Q"), keys, values))[:, :, 0]


@torch.no_grad()
def correct_logits(template: Transformer, theta: Theta, p: int) -> np.ndarray:
    """The logit of (a + b) mod p for every pair (a, b) [p, p], from θ of one prime [1, …]."""
    a, b = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    logits = template.forward(theta, torch.stack([a, b], -1).view(1, p * p, 2))[0, :, 0]  # [p², v]
    return logits.gather(1, ((a + b) % p).view(-1, 1)).view(p, p).double().numpy()


def distance_irrelevance(logits: np.ndarray) -> float:
    """Mean over d = a − b of the spread over s = a + b, divided by the overall spread (Definition 4.2).

    Args:
        logits: those of the right answer, by a and b [p, p]; p is odd.

    0 if they depend on a − b only, 1 if on a + b only; NaN if they are constant. Spreads are population
    standard deviations; d and s are mod p.
    """
    p = len(logits)
    b, d = np.meshgrid(np.arange(p), np.arange(p))  # [d, b]: for a given d, s = d + 2b takes every value once
    spread = logits.std()
    return float(logits[(b + d) % p, b].std(1).mean() / spread) if spread > 0 else float("nan")


def circularity(embeddings: np.ndarray) -> float:
    """Mean over the first four principal components v [p] of max_k 2 |DFT_k|² / (p Σ v²) (Definition B.1).

    Args:
        embeddings: a row per token [p, d]. Of fewer than four independent directions all are taken.

    1 if each component is one sine wave along the tokens; NaN if all rows are equal.
    """
    left, spread, _ = np.linalg.svd(embeddings - embeddings.mean(0), full_matrices=False)
    components = left[:, spread > spread[0] * 1e-6][:, :COMPONENTS]  # [p, c], each with Σ v² = 1
    power = np.abs(np.fft.rfft(components, axis=0)[1:]) ** 2
    return float((2 * power.max(0) / len(embeddings)).mean()) if components.size else float("nan")


def _numbers(table: pd.DataFrame) -> dict[str, float | int | str | None]:
    numbers: dict[str, float | int | str | None] = {"passed": int(table["passed"].sum()), "primes": len(table)}
    for name in METRICS:
        for group, rows in _groups(table).items():
            numbers[f"{name}_{group}"] = float(rows[name].mean()) if len(rows) else None
        numbers[f"{name}_untrained"] = float(table[f"{name}_untrained"].mean())
    return numbers


def _groups(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The networks that are spoken of: those that pass the gate."""
    return {
        "trained": table[table["passed"] & table["trained"]],
        "unseen": table[table["passed"] & ~table["trained"]],
    }


def _sentences(table: pd.DataFrame) -> tuple[str, ...]:
    groups = _groups(table)
    below = ", ".join(str(p) for p in table.loc[~table["passed"], "p"])
    measured = [
        f"{label.capitalize()}: {_spread(groups['trained'][name])} on trained primes, "
        f"{_spread(groups['unseen'][name])} on unseen primes, {_spread(table[name + '_untrained'])} before training."
        for name, (label, _) in METRICS.items()
    ]
    return (
        f"{table['passed'].sum()} of {len(table)} networks reach an accuracy of {GATE} on all pairs "
        f"({len(groups['trained'])} of trained primes, {len(groups['unseen'])} of unseen ones) and enter the means"
        + (f"; p = {below} are shown but not counted." if below else "."),
        *measured,
        "A network that reads the sum of the two embeddings only, as the pizza of Zhong et al. (2023) does, has a "
        "symmetricity of 1, and its right logit varies with a − b, so its irrelevance is lower. The ideal clock "
        "multiplies the embeddings: its gradients differ, and its right logit is the same at every distance "
        "(irrelevance 1). Circles, hence a circularity near 1, belong to both.",
        "High values of the first two are no evidence by themselves, hence the control: networks that compute nothing "
        "can score 1, and uniform attention makes gradients symmetric but for what the last token adds of its own.",
    )


def _spread(values: pd.Series) -> str:
    if not len(values):
        return "no network"
    if len(values) == 1:
        return f"{values.iloc[0]:.3f} (one network)"
    return f"{values.mean():.3f} ± {values.std(ddof=0):.3f} ({len(values)} networks)"


def _draw(table: pd.DataFrame, name: str) -> str:
    """A panel per metric, over p."""
    with own_style():
        figure = Figure(figsize=(7.6, 3.0))
        for axes, (metric, (label, unit)) in zip(figure.subplots(1, len(METRICS)), METRICS.items(), strict=True):
            axes.plot(table["p"], table[f"{metric}_untrained"], **CONTROL)
            for trained, passed in ((True, True), (True, False), (False, True), (False, False)):
                rows = table[(table["trained"] == trained) & (table["passed"] == passed)]
                axes.plot(rows["p"], rows[metric], clip_on=False, **_mark(trained, passed))
            axes.set_title(label.capitalize())
            axes.set_xlabel("prime p")
            axes.set_ylabel(unit)
            axes.set_xticks(range(20, int(table["p"].max()) + 1, 20))
            axes.set_ylim(min(-0.03, *table[[metric, f"{metric}_untrained"]].min() - 0.05), 1.03)
            axes.grid(axis="y")
        handles = [
            Line2D([], [], label="trained prime", **_mark(True, True)),
            Line2D([], [], label="unseen prime", **_mark(False, True)),
            Line2D([], [], label=f"accuracy below {GATE}", **_mark(False, False)),
            Line2D([], [], label="learner before training", **CONTROL),
        ]
        figure.subplots_adjust(0.065, 0.28, 0.99, 0.91, 0.32)
        figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8)
        return to_svg(figure, f"Clock metrics of {name}, per prime")


CONTROL: dict[str, Any] = {"marker": "x", "linestyle": "none", "color": "#999999", "markersize": 4.5}


def _mark(trained: bool, passed: bool) -> dict[str, Any]:
    """Circles are trained primes, squares unseen ones; hollow if the network does not classify."""
    colour = "#0072b2" if trained else "#d55e00"
    return {
        "marker": "o" if trained else "s",
        "linestyle": "none",
        "markersize": 5.4,
        "color": colour if passed else PAPER,
        "markeredgecolor": INK if passed else colour,
        "markeredgewidth": 0.6 if passed else 1.1,
        "zorder": 3,
    }
