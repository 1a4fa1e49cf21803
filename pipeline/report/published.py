"""The paper's numbers (Tables 2, 3, 4 and App. C.4), to stand beside ours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REFERENCE = Path(__file__).parent / "reference"
KINDS = ("fill", "flip", "hollow", "move_right", "recolor_bar")


@dataclass(frozen=True)
class Published:
    """What the paper prints. A key that is not there is a number that the paper does not give."""

    accuracy: dict[tuple[str, str, str], float]
    """Best seed's accuracy by (family, learner, split): Table 2."""
    kinds: dict[tuple[str, str, str], float]
    """Best seed's accuracy on arc1d by (learner, split, kind): Table 3."""
    sizes: dict[tuple[str, str], int]
    """Examples by (family, split): Table 4."""
    parameters: dict[tuple[str, str], int]
    """Trainable parameters by (family, learner): App. C.4."""

    def learners(self, family: str) -> set[str]:
        """The learners for which the paper gives an accuracy on the family."""
        return {learner for f, learner, _ in self.accuracy if f == family}


@cache
def published() -> Published:
    """The paper's numbers, read once."""
    sizes = ("train", "test", "val", "ood")
    return Published(
        accuracy={
            (row["task"], row["model"], split): float(row[split])
            for row in _rows("table2_best_seed_accuracy")
            for split in ("train", "test", "ood")
        },
        kinds={
            (row["model"], row["split"], kind): float(row[kind])
            for row in _rows("table3_arc1d_by_family")
            for kind in KINDS
        },
        sizes={(row["task"], split): int(row[split]) for row in _rows("table4_split_sizes") for split in sizes},
        parameters={
            (row["task"], row["model"]): int(row["trainable_parameters"]) for row in _rows("parameter_budgets")
        },
    )


def _rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
