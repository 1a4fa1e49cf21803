"""Spectra: of the components across primes (Table 6), and of W_E over tokens, which shows its circles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.analysis.components import components, flat, primes_of, used
from pipeline.analysis.finding import Finding
from pipeline.analysis.subject import Subject
from pipeline.style import own_style, to_svg

PUBLISHED = Path(__file__).parent / "reference" / "table6_fft_peaks.csv"
PEAKS = 3
COLUMNS = ["p", "trained", "circles", "first k", "k / p", "its share", "next k", "next share"]
LEAST = 0.002  # share of the energy that is drawn
ENOUGH = 0.9  # share of the energy that the counted frequencies hold


def analyse(subject: Subject) -> Finding:
    """Peaks of PC1 and PC2 across primes, and the Fourier basis of each prime's W_E.

    Raises `DoesNotApply` where there is no modular addition by a Transformer.
    """
    primes = primes_of(subject)
    scores = components(flat(subject, "W_E")).scores(flat(subject, "W_E"))
    peaks = pd.concat([peaks_of(scores[:, i], f"PC{i + 1}") for i in range(2)], ignore_index=True)
    table = peaks.merge(pd.read_csv(PUBLISHED), on=["component", "index"], how="left", suffixes=("", " (paper)"))
    energies = [energy(used(subject, "W_E", k)) for k in range(len(primes))]
    rows = [_row(p, seen, share) for p, seen, share in zip(primes, subject.seen, energies, strict=True)]
    circles = pd.DataFrame(
        rows, columns=["p", "trained", "circles", "first k", "k / p", "its share", "next k", "next share"]
    )
    return Finding(
        "spectrum",
        "Spectrum",
        _sentences(table, circles),
        {
            "circles": float(circles["circles"].mean()),
            "first_share": float(circles["its share"].mean()),
            "first_ratio_spread": float(circles["k / p"].std(ddof=0)),
        },
        {"peaks": table, "circles": circles},
        {"energy": _draw(energies, primes, subject.name)},
        {
            "peaks": "Highest peaks in the Fourier transform of PC1 and PC2 across primes, beside Table 6 of the paper",
            "circles": f"Frequencies of W_E over the tokens of each prime: how many hold {ENOUGH:.0%} of its energy, "
            "and the first two",
            "energy": "Share of W_E’s energy at each frequency k of a prime, drawn at k / p. A straight column is a "
            "circle whose angle per token does not depend on p; on a curve k is the same for every p.",
        },
    )


def peaks_of(scores: np.ndarray, name: str) -> pd.DataFrame:
    """The highest non-constant peaks of scores [K] over the sorted intents; frequency is index / K."""
    amplitude = np.abs(np.fft.rfft(scores))[1:]
    order = np.argsort(-amplitude, kind="stable")[:PEAKS]
    return pd.DataFrame(
        {
            "component": name,
            "index": order + 1,
            "frequency": (order + 1) / len(scores),
            "amplitude": amplitude[order],
        }
    )


def energy(rows: np.ndarray) -> np.ndarray:
    """Share of the energy of rows [p, d], without their mean, at each frequency 1 … p // 2."""
    transformed = np.fft.rfft(rows - rows.mean(0), axis=0)[1:]
    weight = np.full(len(transformed), 2.0)
    if len(rows) % 2 == 0:
        weight[-1] = 1.0
    power = weight * (np.abs(transformed) ** 2).sum(1)
    total = power.sum()
    share: np.ndarray = power / total if total > 0 else power
    return share


def count(share: np.ndarray) -> int:
    """How many of the strongest frequencies hold `ENOUGH` of the energy."""
    return int(np.searchsorted(np.cumsum(np.sort(share)[::-1]), ENOUGH) + 1)


def _row(p: int, seen: bool, share: np.ndarray) -> list[object]:
    first, second = np.argsort(-share, kind="stable")[:2] + 1
    return [int(p), bool(seen), count(share), int(first), first / p, share[first - 1], int(second), share[second - 1]]


def steadier(circles: pd.DataFrame) -> str:
    """Which of k and k / p has the smaller spread over primes, each against its mean."""
    spread = {name: circles[name].std(ddof=0) / circles[name].mean() for name in ("first k", "k / p")}
    return "k" if spread["first k"] <= spread["k / p"] else "k / p"


def _sentences(table: pd.DataFrame, circles: pd.DataFrame) -> tuple[str, ...]:
    shared = set.intersection(*(set(part["index"]) for _, part in table.groupby("component")))
    return (
        f"PC1 and PC2 of W_E(p) share {len(shared)} of their {PEAKS} highest peaks across primes (the paper: 3 of 3). "
        "Primes are unevenly spaced and a smooth curve alone gives low indices, so this says little beyond smoothness.",
        f"Over tokens, {circles['circles'].mean():.1f} ± {circles['circles'].std(ddof=0):.1f} frequencies hold "
        f"{ENOUGH:.0%} of W_E's energy. The strongest holds {circles['its share'].mean():.0%} on average, at "
        f"k = {circles['first k'].min()} (at most {circles['first k'].max()}), k / p = {circles['k / p'].mean():.3f} ± "
        f"{circles['k / p'].std(ddof=0):.3f}; of the two, {steadier(circles)} changes less from prime to prime.",
    )


def _draw(energies: list[np.ndarray], primes: np.ndarray, name: str) -> str:
    with own_style():
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        axes = figure.subplots()
        for row, (p, share) in enumerate(zip(primes, energies, strict=True)):
            k = np.flatnonzero(share >= LEAST) + 1
            strength = share[k - 1]
            axes.scatter(k / p, np.full(len(k), row), 4 + 260 * strength, strength, cmap="viridis_r", vmin=0, vmax=1)
        axes.set_yticks(range(len(primes)), [str(p) for p in primes], fontsize=7)
        axes.set_xlabel("frequency k / p, turns per token")
        axes.set_ylabel("prime p")
        bar = figure.colorbar(axes.collections[0], ax=axes)
        bar.set_label("share of W_E's energy (also the size of a dot)")
        return to_svg(figure, f"Energy of W_E by frequency, {name}")
