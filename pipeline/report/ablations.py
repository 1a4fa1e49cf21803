"""Table 5: variants of a small meta_gnn, mean and standard deviation over seeds, ours beside the paper's."""

from __future__ import annotations

from pipeline import names
from pipeline.params import MetaGnn
from pipeline.report import anchors
from pipeline.report.accuracies import ACCURACY, remarks
from pipeline.report.evidence import Evidence
from pipeline.report.published import AXES, axes, published
from pipeline.report.table import Column, Row, Table, Value
from pipeline.training import recipe
from pipeline.training.recipe import Recipe

SPLITS = ("test", "ood")
NOTES = (
    "Ours: share of examples solved with the weights that val selects in each run, on test and on ood; "
    "mean ± standard deviation over seeds (n − 1 in the denominator; a single seed has none).",
    "Paper: what it calls best_test_qry_acc and does not define, mean ± standard deviation over five seeds. Where it "
    "says “query” elsewhere it means new inputs of trained intents, our test. If “best” is the highest value that the "
    "test examples showed during a run, it is no less than what weights selected by val would give.",
)


def table5(evidence: Evidence) -> Table:
    """A row for each variant that the settings name: what it varies, parameters, seeds, and accuracies."""
    columns = [
        Column("family", "family", shown=False),
        Column("variant", "variant"),
        *(Column(axis, axis) for axis in AXES.values()),
        Column("parameters", "parameters", format=",d"),
        Column("seeds", "seeds", format=",d"),
        Column("seeds_wanted", "seeds wanted", shown=False),
        *(column for split in SPLITS for column in _pair(split, split, "ours")),
        *_pair("paper", "best_test_qry_acc", "paper"),
    ]
    groups = []
    for family in evidence.params.ablations.families:
        rows = [_row(evidence, of) for of in recipe.ablations(evidence.params, family)]
        groups.append((names.family(family).label, tuple(rows)))
    named = ((f"{name} on {names.family(family).label}", cell) for (family, name), cell in evidence.ablated.items())
    training = evidence.params.ablations.training
    length = f"Ours: trained for {training.steps:,} steps of {training.batch:,} examples."
    notes = (length, *NOTES, *remarks(evidence, named))
    return Table("table5", "Table 5. Ablations of a small Meta-GNN", tuple(columns), tuple(groups), notes)


def _pair(key: str, label: str, group: str) -> list[Column]:
    """Mean and deviation: two columns in CSV, one for people."""
    return [
        Column(f"{key}_mean", "", shown=False),
        Column(f"{key}_std", "", shown=False),
        Column(key, label, group, ACCURACY, csv=False, paper=group == "paper"),
    ]


def _row(evidence: Evidence, of: Recipe) -> Row:
    assert isinstance(of.settings, MetaGnn)
    place, cell = axes(of.settings), evidence.ablated.get((of.family, of.name))
    runs = anchors.runs(of.study, of.name) if cell else ""
    count, wanted = len(cell.runs) if cell else 0, len(of.seeds)
    mark = " †" if cell and cell.changed else ""
    row = {
        "family": Value(of.family),
        "variant": Value(of.name, f"{of.name}{mark}"),
        **{axis: Value(value or None) for axis, value in zip(AXES.values(), place, strict=True)},
        "parameters": Value(cell.any_run.parameters.trainable if cell else None, href=runs),
        "seeds": Value(count, "" if count == wanted else f"{count} of {wanted}", runs),
        "seeds_wanted": Value(wanted),
    }
    for split in SPLITS:
        values = cell.per_seed[split] if cell else None
        mean = None if values is None else float(values.mean())
        row |= _values(split, mean, None if values is None or count == 1 else float(values.std(ddof=1)), runs)
    paper = published().ablations if of.family == "addmod" else {}
    return row | _values("paper", *paper.get(place, (None, None)))


def _values(key: str, mean: float | None, std: float | None, href: str = "") -> Row:
    text = "" if mean is None or std is None else f"{mean:{ACCURACY}} ± {std:{ACCURACY}}"
    return {f"{key}_mean": Value(mean), f"{key}_std": Value(std), key: Value(mean, text, href)}
