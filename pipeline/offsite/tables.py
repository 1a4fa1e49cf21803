"""What `neurop train` prints: what is missing, in its order; and what a session has done."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pipeline.offsite.missing import Item
from pipeline.offsite.session import Outcome
from pipeline.training.run import Places


def listing(items: Sequence[Item], places: Places) -> None:
    """Print what is missing, most wanted first."""
    for item in items:
        print(f"{item.run.title}{' (half-way)' if item.half_way(places) else ''}")
    print(f"{len(items)} missing")


def summary(outcome: Outcome, left: Sequence[Item], places: Places) -> None:
    """Print a row for each recipe with what was trained, what is half-way, and what is still missing."""
    columns = {
        "trained": outcome.trained,
        "failed": outcome.failed,
        "half-way": [item for item in left if item.half_way(places)],
        "missing": [item for item in left if not item.half_way(places)],
    }
    shown = {name: items for name, items in columns.items() if items}
    table = Table("recipe", *shown)
    for recipe in dict.fromkeys(_recipe(item) for items in shown.values() for item in items):
        cells = (" ".join(i.run.item for i in items if _recipe(i) == recipe) for items in shown.values())
        table.add_row(recipe, *cells)
    if table.row_count:
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(", ".join(f"{len(columns[name])} {name}" for name in ("trained", "half-way", "missing")))


def _recipe(item: Item) -> str:
    return f"{item.run.study}/{item.run.name}"
