"""A small grammar of formulas in p, each fitted by least squares: the paper's (§5.3, App. E) and shorter ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import binom
from scipy.stats import t as student

from pipeline.params import Scale

UNIT = 100.0
# Angles r / p that a cosine is tried with before the best is polished.
ANGLES = np.geomspace(0.5, 100, 240)
# Processors differ in the last digits of a computation, and a formula of nearly collinear terms blows that up: angles
# have this many digits, and a direction that would leave a fit fewer of the sixteen of a double is none.
DIGITS = 6
RCOND = 1e-10


@dataclass(frozen=True)
class Variable:
    """What polynomials are of, s: the prime as the learner reads it, but for a linear map.

    name: of the prime in words; text: the formula of s; source: the same as Python.
    """

    name: str
    text: str
    source: str
    of: Callable[[np.ndarray], np.ndarray]


VARIABLES: dict[Scale, Variable] = {
    "linear": Variable("p", "p / 100", "p / 100", lambda p: p / UNIT),
    "log": Variable("ln p", "ln(p / 100)", "math.log(p / 100)", lambda p: np.log(p / UNIT)),
}
Columns = Callable[[np.ndarray, float], tuple[list[str], np.ndarray]]


@dataclass(frozen=True)
class Shape:
    """A family of formulas: linear in its coefficients, with at most one angle r besides."""

    name: str
    columns: Columns
    has_angle: bool


@dataclass(frozen=True)
class Formula:
    """A fitted formula: terms with coefficients [m], the angle r if any, half-widths of their 95 % intervals."""

    shape: Shape
    terms: tuple[str, ...]
    coefficients: np.ndarray
    intervals: np.ndarray
    angle: float

    @property
    def length(self) -> int:
        """How many numbers it has."""
        return len(self.coefficients) + self.shape.has_angle

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """Values [n] at p [n]."""
        values: np.ndarray = self.shape.columns(p, self.angle)[1] @ self.coefficients
        return values

    def __str__(self) -> str:
        pairs = zip(self.coefficients, self.terms, strict=True)
        return " ".join(f"{c:+.4g}{'' if term == '1' else f' {term}'}" for c, term in pairs).replace("-", "−")

    @property
    def parameters(self) -> list[tuple[str, float, float]]:
        """Each number with its name and the half-width of its interval."""
        names, values = list(self.terms), list(map(float, self.coefficients))
        if self.shape.has_angle:
            names, values = [*names, "r"], [*values, self.angle]
        return list(zip(names, values, map(float, self.intervals), strict=True))


def fit(shape: Shape, p: np.ndarray, y: np.ndarray) -> Formula:
    """The least-squares formula of a shape through values y [n] at p [n], n > its length."""
    angle = _angle(shape, p, y) if shape.has_angle else 0.0
    terms, columns = shape.columns(p, angle)
    coefficients, *_ = np.linalg.lstsq(columns, y, rcond=RCOND)
    slopes = columns
    if shape.has_angle:
        step = 1e-4 * angle
        ahead = shape.columns(p, angle + step)[1]
        slopes = np.column_stack([columns, (ahead - columns) @ coefficients / step])
    return Formula(shape, tuple(terms), coefficients, _intervals(slopes, y - columns @ coefficients), angle)


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """1 − residual / variance, the variance about the mean of these values."""
    total = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - predicted) ** 2).sum()) / total if total > 0 else float("nan")


def left_out(shape: Shape, p: np.ndarray, y: np.ndarray) -> float:
    """R² of values that were each left out of the fit that predicts them."""
    rows = np.arange(len(p))
    predicted = [float(fit(shape, p[rows != i], y[rows != i])(p[i : i + 1])[0]) for i in rows]
    return r2(y, np.array(predicted))


def polynomial(degree: int, s: Variable = VARIABLES["linear"]) -> Shape:
    """Powers of s up to `degree`."""
    names = ["1", "s", *(f"s^{d}" for d in range(2, degree + 1))][: degree + 1]

    def columns(p: np.ndarray, _: float) -> tuple[list[str], np.ndarray]:
        return names, s.of(p)[:, None] ** np.arange(degree + 1)

    return Shape(f"polynomial in {s.name}, degree {degree}", columns, False)


def cosines(count: int) -> Shape:
    """Harmonics 1 … `count` of the angle r / p, any phases: the polynomials of that degree in its cosine and sine."""

    def columns(p: np.ndarray, r: float) -> tuple[list[str], np.ndarray]:
        turns = [(name, j) for j in range(1, count + 1) for name in ("cos", "sin")]
        values = [getattr(np, name)(j * r / p) for name, j in turns]
        return ["1", *(f"{name}({j * r:.4g}/p)" for name, j in turns)], np.stack([np.ones(len(p)), *values], 1)

    return Shape(f"cosines of r/p, {count} harmonic{'s' if count > 1 else ''}", columns, True)


def parabola_of(first: Formula) -> Shape:
    """The paper's PC₂: even powers of x = cos(r/p + φ) with binomial coefficients, and odd corrections up to x⁷."""
    phase = round(float(np.arctan2(-first.coefficients[2], first.coefficients[1])), DIGITS)
    even = np.array([binom(0.5, k) * (-1) ** k for k in range(1, 5)])

    def columns(p: np.ndarray, _: float) -> tuple[list[str], np.ndarray]:
        x = np.cos(first.angle / p + phase)[:, None]
        series = (x ** (2 * np.arange(1, 5)) * even).sum(1, keepdims=True)
        return ["1", "Σ β_k x^2k", "x", "x^3", "x^5", "x^7"], np.hstack([x**0, series, x ** np.array([1, 3, 5, 7])])

    return Shape("the paper's family in x = cos(r/p + φ)", columns, False)


def grammar(s: Variable) -> tuple[Shape, ...]:
    """All the shapes that are tried."""
    return (*(polynomial(d, s) for d in range(1, 5)), cosines(1), cosines(2))


def _angle(shape: Shape, p: np.ndarray, y: np.ndarray) -> float:
    def residual(log_r: float) -> float:
        columns = shape.columns(p, float(np.exp(log_r)))[1]
        return float(((y - columns @ np.linalg.lstsq(columns, y, rcond=RCOND)[0]) ** 2).sum())

    grid = np.log(ANGLES)
    best = int(np.argmin([residual(value) for value in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    polished = minimize_scalar(residual, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(f"{np.exp(polished.x):.{DIGITS}g}")


def _intervals(slopes: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Half-widths of 95 % intervals of the numbers of a formula, from its slopes [n, m] in them."""
    freedom = len(residual) - slopes.shape[1]
    if freedom < 1:
        return np.full(slopes.shape[1], np.inf)
    variance = (np.linalg.pinv(slopes, RCOND) ** 2).sum(1) * float((residual**2).sum()) / freedom
    half: np.ndarray = student.ppf(0.975, freedom) * np.sqrt(variance)
    return half
