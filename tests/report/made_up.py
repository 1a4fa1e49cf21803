"""Made-up evaluations whose statistics are known in closed form: two families, two learners, three seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.analysis.analyse import ANALYSES, COMPARISON
from pipeline.analysis.finding import Finding
from pipeline.analysis.finding import write as write_finding
from pipeline.evaluation.evaluate import COLUMNS
from pipeline.evaluation.tables import write
from pipeline.files import write_json
from pipeline.params import Params, load
from pipeline.report import Source
from pipeline.style import own_style, to_svg
from tests.helpers import changed, tiny_values, write_params

SEEDS = (0, 1, 2)
LEARNERS = ("direct_mlp", "meta_mlp")
# Examples of each intent. Table 4's totals only for addmod's test and val.
COUNTS: dict[str, dict[str, dict[str, int]]] = {
    "addmod": {
        "train": {"p=3": 40, "p=7": 60},
        "test": {"p=3": 712, "p=7": 1000},
        "val": {"p=5": 997, "p=11": 1000},
        "ood": {"p=5": 20, "p=11": 80},
    },
    "arc1d": {
        "train": {"fill": 20, "move_right(1)": 20, "move_right(3)": 20},
        "test": {"fill": 10, "move_right(1)": 10, "move_right(3)": 30},
        "val": {"fill": 10, "move_right(2)": 10},
        "ood": {"fill": 10, "move_right(2)": 10},
    },
}
# Solved of each intent on addmod, the same for both learners but for ood.
TRAIN, TEST = {"p=3": 40, "p=7": 50}, {"p=3": 712, "p=7": 144}
# Seeds 1 and 2 tie on val accuracy; seed 1 has the lower loss; seed 0 has the highest ood.
VAL = {0: {"p=5": 0, "p=11": 10}, 1: {"p=5": 0, "p=11": 900}, 2: {"p=5": 0, "p=11": 900}}
VAL_LOSS = {0: 3.0, 1: 0.5, 2: 0.75}
OOD = {
    "direct_mlp": {0: {"p=5": 20, "p=11": 70}, 1: {"p=5": 0, "p=11": 40}, 2: {"p=5": 20, "p=11": 0}},
    "meta_mlp": {0: {"p=5": 20, "p=11": 80}, 1: {"p=5": 20, "p=11": 60}, 2: {"p=5": 10, "p=11": 80}},
}
KINDS = {
    "train": {"fill": 20, "move_right(1)": 20, "move_right(3)": 20},
    "test": {"fill": 9, "move_right(1)": 10, "move_right(3)": 6},
    "val": {"fill": 10, "move_right(2)": 5},
    "ood": {"fill": 8, "move_right(2)": 0},
}
TRAINABLE = {"direct_mlp": 200_000, "meta_mlp": 220_000}
FROZEN = 6_048


def kind(intent: str) -> str:
    """The kind of a made-up intent."""
    return intent.partition("=")[0] if "=" in intent else intent.partition("(")[0]


def rows(family: str, learner: str, seed: int) -> list[list[Any]]:
    """The rows of `accuracy.csv` of one run."""
    table = []
    for split, intents in COUNTS[family].items():
        if family == "arc1d":
            solved = KINDS[split]
        else:
            solved = {"train": TRAIN, "test": TEST, "val": VAL[seed], "ood": OOD[learner][seed]}[split]
        loss = VAL_LOSS[seed] if split == "val" else 1.0
        table += [[seed, split, u, kind(u), n, solved[u], loss] for u, n in intents.items()]
    return table


def run(settings: Params, family: str, learner: str, seed: int) -> dict[str, Any]:
    """The entry of `runs.json` of one run."""
    return {
        "seed": seed,
        "configuration": f"{family}-{learner}-{seed}-digest",
        "settings": settings.learner(family, learner).model_dump(mode="json"),
        "training": getattr(settings.training, family).model_dump(mode="json"),
        "parameters": {"trainable": TRAINABLE[learner], "frozen": FROZEN},
        "selected": {"step": 10, "val_accuracy": 0.5, "val_loss": VAL_LOSS[seed]},
        "diverged": False,
    }


def put(source: Source, family: str, learner: str, seeds: tuple[int, ...] = SEEDS, **more: Any) -> None:
    """Write the evaluations of one learner on one family; `more` goes into every entry of `runs.json`."""
    accuracy = pd.DataFrame([row for seed in seeds for row in rows(family, learner, seed)], columns=COLUMNS)
    params = load(source.settings)
    runs = [run(params, family, learner, seed) | more for seed in seeds]
    write(source.evaluation(family, learner), accuracy, runs)


def put_splits(source: Source, family: str) -> None:
    """Write the counts of one family's examples."""
    sizes = {split: {"total": sum(intents.values()), **intents} for split, intents in COUNTS[family].items()}
    write_json(source.splits / f"{family}.json", sizes)


def settings(source: Source, changes: dict[str, Any] | None = None) -> None:
    """Write the settings file: tiny, with the made-up grid, and dotted settings changed."""
    values = changed(
        tiny_values(),
        {
            "grid.families": list(COUNTS),
            "grid.learners": list(LEARNERS),
            "grid.seeds": list(SEEDS),
            "evaluation.bootstrap": 2000,
            "evaluation.confidence": 0.9,
            "learners.addmod.direct_mlp.budget": 218_240,
        },
    )
    source.settings.parent.mkdir(parents=True, exist_ok=True)
    write_params(source.settings, changed(values, changes or {}))


FOUND = "The made-up finding on "


def put_analyses(source: Source, family: str) -> None:
    """Write findings of every sort on the one meta-learner, and one that does not apply on all runs."""
    directory = source.analyses / family
    for name, (title, _) in ANALYSES.items():
        write_finding(directory / "meta_mlp" / name, _finding(name, title, family))
    write_finding(directory / COMPARISON[0], Finding(*COMPARISON, ("There is one run only.",), applies=False))


def _finding(name: str, title: str, family: str) -> Finding:
    with own_style():
        svg = to_svg(Figure(figsize=(1, 1)), title)
    return Finding(
        name,
        title,
        (f"{FOUND}{family}: 1 < 2.",),
        {"share": 0.5, "none": float("nan")},
        {"numbers": pd.DataFrame({"intent": ["p=3", "p=5"], "value": [0.25, float("nan")], "passed": [True, False]})},
        {"picture": svg},
        {"numbers": "Every number", "picture": "Figure 9 of the paper", "sum": "The program"},
        {"sum": "def answer(a: int) -> int:\n\n    return a\n"},
    )


def world(source: Source) -> None:
    """Write a whole set of inputs."""
    settings(source)
    for family in COUNTS:
        put_splits(source, family)
        put_analyses(source, family)
        for learner in LEARNERS:
            put(source, family, learner)


def shuffle(source: Source, seed: int) -> None:
    """Reorder the rows of every `accuracy.csv`."""
    rng = np.random.default_rng(seed)
    for path in source.evaluations.rglob("accuracy.csv"):
        head, *lines = path.read_text().splitlines()
        path.write_text("\n".join([head, *rng.permutation(lines)]) + "\n")
