"""Principal components with signs that do not depend on the machine, and the embeddings that they are taken of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.analysis.finding import DoesNotApply
from pipeline.analysis.subject import Subject
from pipeline.templates import Transformer


@dataclass(frozen=True)
class Components:
    """Principal components of some points: mean [D], directions [m, D] of unit length, variances [m]."""

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray

    @property
    def explained(self) -> np.ndarray:
        """Share of the variance that each component holds [m]."""
        total = self.variances.sum()
        return self.variances / total if total > 0 else np.zeros_like(self.variances)

    def scores(self, points: np.ndarray) -> np.ndarray:
        """Coordinates [n, m] of points [n, D]."""
        return (points - self.mean) @ self.directions.T

    def rebuilt(self, scores: np.ndarray) -> np.ndarray:
        """Points [n, D] from coordinates in the first components [n, ≤ m]."""
        return self.mean + scores @ self.directions[: scores.shape[1]]


def components(points: np.ndarray) -> Components:
    """All principal components of points [n, D]; the largest entry of each direction is positive."""
    mean = points.mean(0)
    _, singular, directions = np.linalg.svd(points - mean, full_matrices=False)
    largest = np.abs(directions).argmax(1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return Components(mean, directions * signs[:, None], singular**2 / len(points))


def primes_of(subject: Subject) -> np.ndarray:
    """The moduli p [K] of an addmod subject, in rising order.

    Raises `DoesNotApply` where there is no modular addition by a Transformer.
    """
    if subject.family.name != "addmod" or not isinstance(subject.template, Transformer):
        raise DoesNotApply("This looks for a clock in token embeddings, which only modular addition has.")
    return np.array([intent.parameter for intent in subject.intents])


def flat(subject: Subject, name: str) -> np.ndarray:
    """One tensor of θ as points [K, slots] (float64), an intent each."""
    points: np.ndarray = subject.theta[name].double().flatten(1).numpy()
    return points


def used(subject: Subject, name: str, k: int) -> np.ndarray:
    """The rows [p, d_model] of W_E, or the columns of W_U, that stand for tokens 0 … p − 1 of intent number k."""
    weights = subject.theta[name][k].double().numpy()
    tokens: np.ndarray = weights if name == "W_E" else weights.T
    return tokens[: subject.intents[k].parameter]
