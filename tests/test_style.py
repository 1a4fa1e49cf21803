"""Figures as bytes: what is far below a pixel leaves no trace in them."""

from __future__ import annotations

import re

import numpy as np
from matplotlib.figure import Figure

from pipeline.style import own_style, to_svg

POINTS = np.linspace(0.1, 0.9, 7) ** 2


def drawn(noise: float = 0.0, left: float = 0.1) -> str:
    """A clipped line with marks; `noise` is on its values, `left` (a share of the width) where its axes begin."""
    with own_style():
        figure = Figure(figsize=(3, 2))
        axes = figure.add_axes((left, 0.1, 0.8, 0.8))
        axes.plot(POINTS, POINTS + noise, "o-")
        axes.set_ylim(0, 0.5)
        return to_svg(figure, "A line")


def test_differences_of_rounding_leave_no_trace() -> None:
    assert drawn(noise=1e-7, left=0.1 + 1e-13) == drawn()


def test_differences_that_can_be_seen_are_drawn() -> None:
    assert drawn(noise=1e-3) != drawn()
    assert drawn(left=0.101) != drawn()


def test_places_have_two_decimals_and_stand_where_they_should() -> None:
    svg = drawn()
    places = re.findall(r'\b(?:x|y)="(-?[\d.]+)"', svg)
    assert places
    assert all(re.fullmatch(r"-?\d+(\.\d\d?)?", place) for place in places)
    # 216 × 144 points; the axes are 172.8 × 115.2 of them, from 21.6 and down to 129.6.
    assert '<rect x="21.6" y="14.4" width="172.8" height="115.2"/>' in svg
    x, y = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: #1f77b4', svg)[3]
    margin = 0.05 * (POINTS[-1] - POINTS[0])
    share = (POINTS[3] - POINTS[0] + margin) / (POINTS[-1] - POINTS[0] + 2 * margin)
    assert abs(float(x) - (21.6 + 172.8 * share)) < 0.006
    assert abs(float(y) - (129.6 - 115.2 * POINTS[3] / 0.5)) < 0.006


def test_letters_keep_their_size() -> None:
    assert "scale(0.015625)" in drawn()


def test_every_clip_path_that_is_named_is_there() -> None:
    svg = drawn()
    named = set(re.findall(r"url\(#(\w+)\)", svg))
    assert named
    assert named == set(re.findall(r'<clipPath id="(\w+)"', svg))
