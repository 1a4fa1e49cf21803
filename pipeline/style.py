"""How figures look: our own settings of matplotlib, not the user's, so that equal numbers give equal bytes."""

from __future__ import annotations

import hashlib
import io
import re
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

# What says where something stands, but for the outlines of letters (transform="scale(…)" and the path beside it).
PLACE = re.compile(r'\b(?:x|y|width|height|d|points)="[^"]*"|translate\([^)]*\)')
DECIMAL = re.compile(r"-?\d+\.\d+")
CLIP = re.compile(r'<clipPath id="(\w+)">(.*?)</clipPath>', re.DOTALL)


@contextmanager
def own_style() -> Iterator[None]:
    """Within the block matplotlib's defaults and SETTINGS hold, whatever the user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def to_svg(figure: Figure, title: str) -> str:
    """The figure as SVG. Equal figures give equal bytes; draw and write it within `own_style`.

    Processors differ in the last digits of a computation: places are written to a hundredth of a point, and clip
    paths are named after what is written.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return _named_clips(PLACE.sub(_rounded, buffer.getvalue()))


def _rounded(place: re.Match[str]) -> str:
    # The sum turns -0.0 into 0.0.
    return DECIMAL.sub(lambda number: f"{round(float(number[0]), 2) + 0.0:g}", place[0])


def _named_clips(svg: str) -> str:
    for name, path in CLIP.findall(svg):
        svg = svg.replace(name, "clip" + hashlib.sha256(path.encode()).hexdigest()[:10])
    return svg
