"""The report as one HTML page that needs no network: tables, figures, and the runs behind every number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline import names
from pipeline.files import digest
from pipeline.programs import SPLITS, make_family
from pipeline.report import anchors
from pipeline.report.evidence import Cell, Evidence
from pipeline.report.mechanisms import MOST_ROWS, Mechanism, cells
from pipeline.report.svg import inline, width
from pipeline.report.table import MISSING, Table
from pipeline.training import recipe
from pipeline.training.recipe import Recipe

HERE = Path(__file__).parent
BEYOND = {
    "bandwidth": None,
    "scale": "linear",
    "intent_slots": "all",
    "intent_rank": 0,
    "relations": (),
    "gradient_clip": None,
    "curriculum": 0,
    "loss_power": 1,
}
"""Settings of learners that the paper does not have, and what each is where it is off."""


@dataclass(frozen=True)
class Figure:
    """A drawing of one family, ready for the page, and its natural width."""

    family: str
    svg: Markup
    width: int


def render(
    evidence: Evidence,
    tables: Sequence[Table],
    figures: Mapping[str, str],
    graphs: Mapping[str, str],
    found: Sequence[Mechanism],
) -> str:
    """The page. `figures` and `graphs` are SVG by family; equal inputs give equal bytes."""
    # StrictUndefined: a misspelt name in the page is an error, not an empty place.
    environment = Environment(
        loader=FileSystemLoader(HERE, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"settings": settings_text, "spoken": spoken}
    return environment.get_template("page.html").render(
        source=evidence.source,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        settings_digest=settings_digest(evidence),
        shorter=_learners_with(evidence, "steps"),
        beyond={setting: those for setting in BEYOND if (those := _learners_with(evidence, setting))},
        seeds=spoken(evidence.params.grid.all_seeds),
        tables={table.name: table for table in tables},
        figures=[_figure(family, svg) for family, svg in figures.items()],
        graphs=[_graph(evidence, family, svg) for family, svg in graphs.items()],
        families=[_family(evidence, family) for family in evidence.params.grid.families],
        ablations=[_ablations(evidence, family) for family in evidence.params.ablations.families],
        ablated=evidence.params.ablations,
        mechanisms={family: list(those) for family, those in groupby(found, lambda one: one.family)},
        cells=cells,
        most_rows=MOST_ROWS,
        anchors=anchors,
        names=names,
        missing=MISSING,
    )


def settings_digest(evidence: Evidence) -> str:
    """Digest of all settings but the grid, which only says what of them is run."""
    return digest(evidence.params.model_dump(mode="json", exclude={"grid"}))


def _learners_with(evidence: Evidence, setting: str) -> str:
    """The learners of the grid that have a setting which is off by default, with its value: `addmod meta_gnn (8)`."""
    grid = evidence.params.grid
    cells = [(family, learner) for family in grid.families for learner in grid.learners]
    off = BEYOND.get(setting)
    values = {cell: getattr(evidence.params.learner(*cell), setting, off) for cell in cells}
    return ", ".join(
        f"{family} {learner} ({_value(value)})" for (family, learner), value in values.items() if value != off
    )


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def settings_text(value: Any) -> str:
    """Settings as JSON with a line for each key; lists stay on their line."""
    lines = [f"  {json.dumps(key)}: {json.dumps(part, ensure_ascii=False)}" for key, part in sorted(value.items())]
    return "{\n" + ",\n".join(lines) + "\n}"


def spoken(seeds: Sequence[int]) -> str:
    """`0–9` for an unbroken range of three or more, else a list."""
    numbers = sorted(seeds)
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers)) or MISSING


def _figure(family: str, svg: str) -> Figure:
    return Figure(family, Markup(inline(svg, f"figure-{family}", f"the figure of {family}")), width(svg))


def _graph(evidence: Evidence, family: str, svg: str) -> Figure:
    place = evidence.source.graphs / family / "graph.svg"
    return Figure(family, Markup(inline(svg, f"graph-{family}", str(place))), width(svg))


def _family(evidence: Evidence, family: str) -> dict[str, Any]:
    """What the page says of one family: protocol, splits, learners with their runs."""
    made = make_family(evidence.params, family)
    ood = {str(intent) for intent in made.intents("ood")}
    return {
        "name": family,
        "label": names.family(family).label,
        "figure": names.family(family).figure,
        "training": getattr(evidence.params.training, family),
        "program": getattr(evidence.params.programs, family).model_dump(mode="json"),
        "template": getattr(evidence.params.templates, family).model_dump(mode="json"),
        "shared": [str(intent) for intent in made.intents("val") if str(intent) in ood],
        "sizes": _sizes(evidence, family),
        "learners": [_learner(evidence, family, learner) for learner in evidence.learners(family)],
    }


def _ablations(evidence: Evidence, family: str) -> dict[str, Any]:
    """What the page says of the ablations on one family: the variants with their runs."""
    rows = recipe.ablations(evidence.params, family)
    entries = [_entry(of, of.name, evidence.ablated.get((family, of.name)), of.seeds) for of in rows]
    return {"family": names.family(family).label, "variants": entries}


def _sizes(evidence: Evidence, family: str) -> list[tuple[str, list[int | None]]]:
    """Examples of each intent: (intent, one count per split)."""
    sizes = evidence.sizes.get(family)
    if sizes is None:
        return []
    intents = dict.fromkeys(name for split in SPLITS for name in sizes[split] if name != "total")
    return [(intent, [sizes[split].get(intent) for split in SPLITS]) for intent in intents]


def _learner(evidence: Evidence, family: str, learner: str) -> dict[str, Any]:
    wanted = evidence.params.grid.all_seeds if learner in evidence.params.grid.learners else ()
    of = recipe.recipe(evidence.params, family, learner)
    return _entry(of, names.learner(learner).label, evidence.cells.get((family, learner)), wanted)


def _entry(of: Recipe, label: str, cell: Cell | None, wanted: Sequence[int]) -> dict[str, Any]:
    """What the page says of one recipe; `wanted`: the seeds that the settings name, none if they leave it out."""
    return {
        "of": of,
        "label": label,
        "cell": cell,
        "wanted": wanted,
        "missing": [seed for seed in sorted(wanted) if cell is None or seed not in cell.runs],
        "runs": _runs(of, cell) if cell else [],
    }


def _runs(of: Recipe, cell: Cell) -> list[dict[str, Any]]:
    return [
        {
            "run": run,
            "best": seed == cell.best,
            "accuracy": {split: float(cell.per_seed.loc[seed, split]) for split in SPLITS},
            "command": f"dvc repro {of.run(seed).stage}",
            "provenance": run.provenance,
        }
        for seed, run in cell.runs.items()
    ]
