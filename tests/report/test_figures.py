"""Figures: what they show, and that nothing of the machine is in them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import names
from pipeline.errors import UserError
from pipeline.report import Source
from pipeline.report.evidence import gather
from pipeline.report.figures import Series, beeswarm, draw, series
from pipeline.report.svg import inline
from tests.report.made_up import put


def test_series_hold_each_seed_the_best_by_val_and_the_papers_best(source: Source) -> None:
    direct, meta = series(gather(source), "addmod")
    assert direct.ood == pytest.approx([0.9, 0.4, 0.2])
    assert direct.test == pytest.approx([0.5, 0.5, 0.5])
    assert (direct.best, direct.paper, meta.paper) == (1, 0.699, 0.947)


def test_learners_without_runs_are_not_drawn(stored: Source) -> None:
    for path in stored.evaluation("addmod", "direct_mlp").iterdir():
        path.unlink()
    put(stored, "addmod", "meta_mlp", seeds=(2,))
    (meta,) = series(gather(stored), "addmod")
    assert (meta.learner, meta.best, list(meta.ood)) == ("meta_mlp", 0, [0.9])


def test_a_figure_is_a_function_of_its_numbers(report: dict[str, str]) -> None:
    one = Series("meta_mlp", np.array([0.9, 1.0]), np.array([0.2, 0.3]), 1, None)
    other = Series("meta_mlp", np.array([0.9, 1.0]), np.array([0.2, 0.4]), 1, None)
    assert draw("addmod", [one]) == draw("addmod", [one])
    assert draw("addmod", [one]) != draw("addmod", [other])


def test_a_figure_names_no_time_and_needs_no_font(report: dict[str, str]) -> None:
    svg = report["figures/addmod.svg"]
    assert "dc:date" not in svg
    assert "<text" not in svg  # letters are outlines
    assert "font-family" not in svg


def test_every_seed_of_a_learner_has_its_colour_and_both_panels(report: dict[str, str]) -> None:
    colour = names.learner("meta_mlp").colour
    marks = re.findall(rf'<use [^>]*style="fill: {colour}', report["figures/addmod.svg"])
    assert len(marks) == 2 * 3


@given(st.lists(st.floats(0, 1), max_size=10))
def test_points_of_a_swarm_do_not_cover_one_another(values: list[float]) -> None:
    offsets = beeswarm(np.array(values), radius=0.03, step=0.05)
    for i, (v, x) in enumerate(zip(values, offsets, strict=True)):
        for w, y in zip(values[:i], offsets[:i], strict=True):
            assert abs(v - w) >= 0.03 or abs(x - y) >= 0.049 or max(abs(x), abs(y)) == 0.4


def test_unlisted_learners_get_a_name_and_a_mark_of_their_own() -> None:
    found = names.learner("my_new_learner")
    assert found.label == "my new learner"
    assert found == names.learner("my_new_learner")
    assert names.ordered_learners(["zeta", "meta_gnn", "direct_mlp", "alpha"]) == (
        "direct_mlp",
        "meta_gnn",
        "alpha",
        "zeta",
    )


SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{}</svg>'


def test_identifiers_are_made_unique_when_inlined() -> None:
    text = inline(SVG.format('<defs><path id="a"/></defs><use href="#a"/><g clip-path="url(#a)"/>'), "f", "x.svg")
    assert text.startswith('<svg id="f" ')
    assert 'id="f-a"' in text
    assert 'href="#f-a"' in text
    assert "url(#f-a)" in text


@pytest.mark.parametrize(
    "inner",
    [
        "<script>1</script>",
        '<g onclick="x()"/>',
        '<use href="https://example.org/x.svg#a"/>',
        '<image href="#a"/>',
        "<style>@import 'x.css';</style>",
        '<g fill="url(https://example.org/x)"/>',
        "<g>",
    ],
)
def test_a_drawing_that_runs_or_fetches_is_refused(inner: str) -> None:
    with pytest.raises(UserError, match=r"x\.svg"):
        inline(SVG.format(inner), "f", "x.svg")
