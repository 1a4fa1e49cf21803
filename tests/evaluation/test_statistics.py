"""Statistics over seeds against closed forms; the best seed is chosen by val and by nothing else."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.evaluate import COLUMNS
from pipeline.evaluation.statistics import best_seed, metric, per_seed, summarise, val_loss
from pipeline.programs import SPLITS

Row = tuple[int, str, str, int, int, float]


def table(rows: list[Row]) -> pd.DataFrame:
    """Evaluations from (seed, split, intent, examples, solved, mean loss)."""
    return pd.DataFrame([[s, split, u, "p", n, solved, loss] for s, split, u, n, solved, loss in rows], columns=COLUMNS)


def seeds(accuracies: dict[int, dict[str, int]], losses: dict[int, float] | None = None) -> pd.DataFrame:
    """A hundred examples of one intent in every split: solved by seed and split, 50 where not said."""
    return table(
        [
            (seed, split, "p=13", 100, solved.get(split, 50), (losses or {}).get(seed, 1.0))
            for seed, solved in accuracies.items()
            for split in SPLITS
        ]
    )


def test_accuracy_of_a_seed_is_over_examples_not_over_intents() -> None:
    rows = [(1, split, u, n, solved, 0.0) for split in SPLITS for u, n, solved in (("a", 90, 90), ("b", 10, 0))]
    found = per_seed(table([*rows, *((0, *row[1:4], 0, 0.0) for row in rows)]))
    assert list(found.columns) == list(SPLITS)
    assert list(found.index) == [0, 1]
    assert found.loc[1].tolist() == [0.9] * 4
    assert found.loc[0].tolist() == [0.0] * 4


def test_val_loss_is_the_mean_over_examples_of_val() -> None:
    rows: list[Row] = [(3, "val", "a", 30, 0, 1.0), (3, "val", "b", 10, 0, 5.0), (3, "val", "c", 0, 0, math.nan)]
    rows += [(3, split, "a", 30, 0, 99.0) for split in ("train", "test", "ood")]
    assert val_loss(table(rows)).to_dict() == {3: 2.0}


def test_one_seed() -> None:
    summary = summarise(seeds({7: {"val": 40, "ood": 30}}), 100, 0.95)
    assert [summary["ood"].best, summary["ood"].median, summary["ood"].mean] == [0.3] * 3
    assert [summary["ood"].low, summary["ood"].high, summary["ood"].seeds] == [0.3, 0.3, 1]
    assert summary["val"].best == 0.4


def test_seeds_that_agree_have_no_interval() -> None:
    for statistics in summarise(seeds({seed: {} for seed in range(5)}), 1000, 0.95).values():
        assert (statistics.low, statistics.mean, statistics.high) == pytest.approx((0.5, 0.5, 0.5))
        assert statistics.seeds == 5


def test_known_values() -> None:
    ood = [10, 20, 30, 80]
    summary = summarise(seeds({s: {"ood": n, "val": 10 + s} for s, n in enumerate(ood)}), 20000, 0.9)["ood"]
    assert (summary.best, summary.median, summary.mean) == pytest.approx((0.8, 0.25, 0.35))
    # The bootstrap mean of 4 values takes 4⁴ equally likely values: the exact 5 % and 95 % quantiles.
    means = sorted(sum((a, b, c, d)) / 400 for a in ood for b in ood for c in ood for d in ood)
    assert summary.low == pytest.approx(means[round(0.05 * 255)], abs=0.011)
    assert summary.high == pytest.approx(means[round(0.95 * 255)], abs=0.011)


def test_the_interval_grows_with_confidence_and_is_the_same_every_time() -> None:
    accuracy = seeds({s: {"ood": 7 * s} for s in range(10)})
    narrow, wide, again = (summarise(accuracy, 500, level)["ood"] for level in (0.5, 0.99, 0.5))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert narrow == again


VAL = st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1)
OTHER = st.lists(st.integers(0, 100), min_size=30, max_size=30)


@settings(max_examples=15)
@given(VAL, OTHER, OTHER)
def test_the_best_seed_is_chosen_by_val_alone(val: dict[int, tuple[int, int]], one: list[int], two: list[int]) -> None:
    """By accuracy, then loss, then number; whatever the other splits hold."""
    expected = min(val, key=lambda seed: (-val[seed][0], val[seed][1], seed))
    for others in (one, two):
        draw = iter(others)
        solved = {s: {"val": v[0], **{split: next(draw) for split in ("train", "test", "ood")}} for s, v in val.items()}
        accuracy = seeds(solved, {s: float(v[1]) for s, v in val.items()})
        assert best_seed(accuracy) == expected
        assert summarise(accuracy, 10, 0.5)["ood"].best == solved[expected]["ood"] / 100


def test_losses_of_other_splits_do_not_choose() -> None:
    accuracy = seeds({0: {}, 1: {}}, {0: 1.0, 1: 2.0})
    accuracy.loc[(accuracy["seed"] == 0) & (accuracy["split"] != "val"), "loss"] = 50.0
    assert best_seed(accuracy) == 0


def test_a_seed_without_a_loss_comes_last_among_equals() -> None:
    assert best_seed(seeds({0: {}, 1: {}}, {0: math.nan, 1: 9.0})) == 1
    assert best_seed(seeds({0: {"val": 60}, 1: {}}, {0: math.nan, 1: 9.0})) == 0


def test_the_metric_is_the_summary_rounded() -> None:
    accuracy = seeds({s: {"ood": n, "val": n} for s, n in enumerate([10, 33, 67])})
    found, summary = metric(accuracy, 50, 0.9), summarise(accuracy, 50, 0.9)
    assert set(found) == {"best_seed", *SPLITS}
    assert found["best_seed"] == 2
    assert found["ood"] == {key: round(value, 6) for key, value in vars(summary["ood"]).items()}
    assert found["ood"]["mean"] == 0.366667  # type: ignore[index]
