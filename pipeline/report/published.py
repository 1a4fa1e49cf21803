"""The paper's numbers (Tables 2 to 5 and App. C.4), to stand beside ours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.params import MetaGnn

REFERENCE = Path(__file__).parent / "reference"
# What Table 5 varies, by the paper's names and by ours.
AXES = {
    "init_mode": "init_mode",
    "aggr": "aggregation",
    "use_norm": "use_norm",
    "bidirectional": "bidirectional",
    "rev_edge_mode": "rev_edge_mode",
}
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
    ablations: dict[tuple[str, ...], tuple[float, float]]
    """Mean and standard deviation on addmod by the values of AXES, as `axes` gives them: Table 5."""

    def learners(self, family: str) -> set[str]:
        """The learners for which the paper gives an accuracy on the family."""
        return {learner for f, learner, _ in self.accuracy if f == family}


def axes(settings: MetaGnn) -> tuple[str, ...]:
    """A variant's place in Table 5: the values of AXES; no mode of reverse edges where there are none."""
    values = {ours: str(getattr(settings, ours)) for ours in AXES.values()}
    values |= {name: values[name].lower() for name in ("use_norm", "bidirectional")}
    if not settings.bidirectional:
        values["rev_edge_mode"] = ""
    return tuple(values.values())


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
        ablations={
            tuple(row[axis] for axis in AXES): (float(row["mean"]), float(row["std"]))
            for row in _rows("table5_gnn_ablations_addmod")
        },
    )


def _rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
