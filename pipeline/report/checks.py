"""Whether a table of accuracies is whole and is of the splits that it is reported with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.programs import SPLITS

Sizes = Mapping[str, Mapping[str, int]]


def check_accuracy(
    accuracy: pd.DataFrame, seeds: list[int], sizes: Sizes | None, place: str, remedy: str
) -> pd.DataFrame:
    """The rows of `seeds`, sorted: sums of floating-point numbers depend on the order of the rows.

    Raises `UserError`, naming `place` and ending with `remedy`, for a table with which no report should be made.
    """
    why = _damage(accuracy)
    if why:
        raise UserError(f"{place} is damaged ({why}); {remedy}")
    counts = {column: accuracy[column].astype("int64") for column in ("seed", "examples", "solved")}
    table = accuracy.assign(**counts).sort_values(["seed", "split", "intent"], kind="stable", ignore_index=True)
    table = table[table["seed"].isin(seeds)].reset_index(drop=True)
    why = _gap(table, seeds) or _other_splits(table, sizes)
    if why:
        raise UserError(f"{place}: {why}; {remedy}")
    return table


def differences(used: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys, sorted, that one of two settings lacks or has otherwise."""
    absent = object()
    return [key for key in sorted({*used, *now}) if used.get(key, absent) != now.get(key, absent)]


@contextmanager
def advising(remedy: str) -> Iterator[None]:
    """Within the block a `UserError` keeps what is wrong, and says `remedy` as what to do."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{str(error).partition(';')[0]}; {remedy}") from None


def _damage(accuracy: pd.DataFrame) -> str:
    """What is wrong with the values; whether the file is whole was asked when it was read."""
    for column in ("seed", "examples", "solved", "loss"):
        if not pd.api.types.is_numeric_dtype(accuracy[column]):
            return f"{column} holds text"
    for column in ("seed", "examples", "solved"):
        if not (accuracy[column] >= 0).all() or (accuracy[column] % 1 != 0).any():
            return f"{column} holds something that is not a count"
    if (accuracy["solved"] > accuracy["examples"]).any():
        return "more examples are solved than there are"
    if accuracy.duplicated(["seed", "split", "intent"]).any():
        return "a seed has two rows for one intent"
    return ""


def _gap(table: pd.DataFrame, seeds: list[int]) -> str:
    """All seeds must be measured on the same examples of every split."""
    measured = {
        seed: {(split, intent): n for split, intent, n in rows[["split", "intent", "examples"]].itertuples(index=False)}
        for seed, rows in table.groupby("seed")
    }
    first = seeds[0]
    for split in SPLITS:
        if not sum(n for (name, _), n in measured[first].items() if name == split):
            return f"seed {first} has no examples of {split}"
    for seed in seeds:
        if measured[seed] != measured[first]:
            return f"seeds {first} and {seed} were measured on other examples"
    return ""


def _other_splits(table: pd.DataFrame, sizes: Sizes | None) -> str:
    """The examples must be those that the table of split sizes counts."""
    if sizes is None:
        return ""
    one_seed = table[table["seed"] == table["seed"].iloc[0]]
    totals = one_seed.groupby("split")["examples"].sum()
    for split in SPLITS:
        if int(totals[split]) != sizes[split]["total"]:
            return f"it counts {int(totals[split])} examples of {split} and the splits hold {sizes[split]['total']}"
    return ""
