"""How figures look: our own settings of matplotlib, not the user's, so that equal numbers give equal bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

# The page turns these three into its own colours, light or dark (see report/svg.py).
INK, RULE, PAPER = "#1a1a1a", "#d9d9d9", "#ffffff"

SETTINGS: dict[RcKeyType, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "path.simplify": False,
    "svg.fonttype": "path",  # letters as outlines: no font of the reader's machine is needed
    "svg.hashsalt": "neurop",  # else identifiers are drawn at random
}


@contextmanager
def own_style() -> Iterator[None]:
    """Within the block matplotlib's defaults and SETTINGS hold, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def to_svg(figure: Figure, title: str) -> str:
    """The figure as SVG. Equal figures give equal bytes; draw and write it within `own_style`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return buffer.getvalue()
