"""From the formula back into a working network, and to a program without one (§7's next step)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from pipeline.analysis import masked_sum
from pipeline.analysis.closed_form import FEWEST, choose, trajectory
from pipeline.analysis.components import flat, primes_of, used
from pipeline.analysis.finding import PRECISION, DoesNotApply, Finding
from pipeline.analysis.grammar import VARIABLES
from pipeline.analysis.plain_python import transformer_source
from pipeline.analysis.subject import Subject
from pipeline.learners import count
from pipeline.templates import Theta

CIRCLES = (1, 2, 4, 8, 16)
DEGREES = (1, 2, 3, 4)
SMALL = 0.02  # loss of accuracy below which circles are said to carry a network
SLACK = 0.002  # trained accuracy that a simpler program may lose


def analyse(subject: Subject) -> Finding:
    """What is left of the accuracy when formulas replace weights, for addmod; for sumfirst the masked sum.

    Raises `DoesNotApply` for other families and for too few trained intents.
    """
    if subject.family.name == "sumfirst":
        return masked_sum.analyse(subject)
    primes, seen, s = primes_of(subject), subject.seen, VARIABLES[subject.scale]
    if seen.sum() < FEWEST:
        raise DoesNotApply(f"A fit needs at least {FEWEST} trained primes; there are {seen.sum()}.")
    formula = subject.accuracy_of(with_formulas(subject, ("W_E", "W_U")))
    circles = {j: subject.accuracy_of(with_circles(subject, j)) for j in CIRCLES}
    degree, coefficients, whole, reached = shortest(subject)
    table = pd.DataFrame(
        {
            "p": primes,
            "trained": seen,
            "pairs": primes**2,
            "network": subject.accuracy,
            "W_E, W_U by formula": formula,
            **{f"{j} circle{'s' if j > 1 else ''}": accuracy for j, accuracy in circles.items()},
            "all by formula": whole,
        }
    )
    slots, own = subject.template.n_slots, count(subject.learner)["trainable"]
    return Finding(
        "symbolic",
        "Back into the network",
        _sentences(table, subject, degree, reached),
        {
            "network_unseen": float(subject.accuracy[~seen].mean()) if (~seen).any() else None,
            "formula_unseen": float(formula[~seen].mean()) if (~seen).any() else None,
            "whole_unseen": float(whole[~seen].mean()) if (~seen).any() else None,
            "whole_degree": degree,
            "whole_numbers": (degree + 1) * slots,
            "learner_parameters": own,
        },
        {"primes": table, "coefficients": coefficients},
        {},
        {
            "primes": "Share of all p² pairs solved, every pair checked: by the network as written; with W_E and W_U "
            "rebuilt from formulas; with W_E and W_U cut down to their strongest circles; with all weights by formula",
            "coefficients": f"The symbolic program’s numbers: each weight is a polynomial in s = {s.text}",
            "program": "The symbolic program: plain Python that needs the coefficients’ file and nothing else",
        },
        {"program": transformer_source(subject.template, degree, s)},
    )


def with_formulas(subject: Subject, names: tuple[str, ...], most: int = 2) -> Theta:
    """θ with tensors rebuilt from their first `most` components over primes, each component by its formula in p.

    Components and formulas are those of the trained primes.
    """
    p, seen, theta = primes_of(subject).astype(float), subject.seen, dict(subject.theta)
    for name in names:
        space, scores = trajectory(subject, name)
        predicted = np.stack([choose(p[seen], scores[seen, i], VARIABLES[subject.scale])(p) for i in range(most)], 1)
        rebuilt = space.rebuilt(predicted).reshape(theta[name].shape)
        theta[name] = torch.from_numpy(rebuilt).float()
    return theta


def with_circles(subject: Subject, circles: int) -> Theta:
    """θ with W_E and W_U a clock template: per prime some frequencies, per dimension a mean, amplitudes and phases."""
    theta = {name: value.clone() for name, value in subject.theta.items()}
    for k, p in enumerate(primes_of(subject)):
        theta["W_E"][k, :p] = torch.from_numpy(strongest(used(subject, "W_E", k), circles)).float()
        theta["W_U"][k, :, :p] = torch.from_numpy(strongest(used(subject, "W_U", k), circles).T).float()
    return theta


def strongest(rows: np.ndarray, circles: int) -> np.ndarray:
    """Rows [p, d] with only their mean and the frequencies that hold the most energy."""
    transformed = np.fft.rfft(rows, axis=0)
    energy = (np.abs(transformed[1:]) ** 2).sum(1)
    kept = [0, *(np.argsort(-energy, kind="stable")[:circles] + 1)]
    cut = np.zeros_like(transformed)
    cut[kept] = transformed[kept]
    rebuilt: np.ndarray = np.fft.irfft(cut, n=len(rows), axis=0)
    return rebuilt


def shortest(subject: Subject) -> tuple[int, pd.DataFrame, np.ndarray, bool]:
    """The lowest degree at which θ(p) as a polynomial solves the trained primes as the network does.

    Coefficients are fitted on trained primes and rounded as in their file. Returns the degree (the highest tried, if
    none suffices), the coefficients, the accuracy [K] of the networks that they give, and whether it suffices.
    """
    wanted = float(subject.accuracy[subject.seen].mean()) - SLACK
    for degree in DEGREES:
        table = polynomials(subject, degree)
        accuracy = subject.accuracy_of(evaluated(subject, table))
        if accuracy[subject.seen].mean() >= wanted:
            return degree, table, accuracy, True
    return degree, table, accuracy, False


def polynomials(subject: Subject, degree: int) -> pd.DataFrame:
    """The coefficients of every weight as a polynomial in s, the prime as the learner reads it.

    Columns `tensor`, `slot`, `c0` … `c<degree>`.
    """
    powers = _powers(subject, degree)[subject.seen]
    parts = []
    for name in subject.theta:
        fitted = np.linalg.lstsq(powers, flat(subject, name)[subject.seen], rcond=None)[0].T
        rounded = [[float(f"{value:.{PRECISION}g}") for value in row] for row in fitted]
        part = pd.DataFrame(rounded, columns=[f"c{d}" for d in range(degree + 1)])
        part.insert(0, "slot", np.arange(len(part)))
        part.insert(0, "tensor", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def evaluated(subject: Subject, table: pd.DataFrame) -> Theta:
    """θ [K, …] that the coefficients give."""
    columns = [name for name in table if str(name).startswith("c")]
    powers = _powers(subject, len(columns) - 1)
    by_name = {name: part[columns].to_numpy() for name, part in table.groupby("tensor", sort=False)}
    values = {name: powers @ by_name[name].T for name in subject.theta}
    return {name: torch.from_numpy(values[name]).float().view_as(own) for name, own in subject.theta.items()}


def _powers(subject: Subject, degree: int) -> np.ndarray:
    powers: np.ndarray = VARIABLES[subject.scale].of(primes_of(subject))[:, None] ** np.arange(degree + 1)
    return powers


def _sentences(table: pd.DataFrame, subject: Subject, degree: int, reached: bool) -> tuple[str, ...]:
    seen, passed = subject.seen, subject.passed
    means = {name: (table.loc[seen, name].mean(), table.loc[~seen, name].mean()) for name in table.columns[3:]}
    text = {name: f"{trained:.3f} on trained primes, {new:.3f} on the others" for name, (trained, new) in means.items()}
    numbers, own = (degree + 1) * subject.template.n_slots, count(subject.learner)["trainable"]
    of = VARIABLES[subject.scale].name
    most = f"{CIRCLES[-1]} circles"
    lost = "" if reached else f"No degree up to {DEGREES[-1]} keeps the accuracy on trained primes within {SLACK}. "
    return (
        subject.gate,
        f"The network as written solves {text['network']} (means over primes). With W_E(p) and W_U(p) rebuilt from two "
        f"components and their formulas in p, and all else as written: {text['W_E, W_U by formula']}."
        + _worst(table, seen),
        f"{lost}With every weight a polynomial of degree {degree} in {of} and no hypernetwork: "
        f"{text['all by formula']}. These are {numbers:,} numbers for all primes; the learner has {own:,} parameters.",
        "Exhaustively checked: the accuracies, on all p² pairs of each prime here. Fitted, on trained primes alone: "
        "the coefficients. Nothing is proven of other primes.",
        f"With W_E and W_U cut down to one circle: {text['1 circle']}; to {most}: {text[most]}."
        + _verdict(table["network"] - table[most], passed),
    )


def _worst(table: pd.DataFrame, seen: np.ndarray) -> str:
    """The unseen prime on which the formula changes the accuracy most, which a mean hides."""
    if seen.all():
        return ""
    change = (table["W_E, W_U by formula"] - table["network"])[~seen]
    where = change.abs().idxmax()
    return f" The largest change on one unseen prime is {change[where]:+.3f}, at p = {table['p'][where]}."


def _verdict(lost: pd.Series, passed: np.ndarray) -> str:
    """What the loss of accuracy says, prime by prime, of the networks that solve their task; of others nothing."""
    if not passed.any():
        return ""
    most, kept = float(lost[passed].max()), int((lost[passed] < SMALL).sum())
    which = f" Of the {int(passed.sum())} networks above the gate {kept} lose less than {SMALL}, the worst {most:.3f}"
    return f"{which}: {'circles carry the answers' if most < SMALL else 'circles alone do not carry the answers'}."
