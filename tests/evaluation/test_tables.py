"""Evaluations on disk: they come back, equal ones give equal bytes, damage is told in one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluation.evaluate import COLUMNS
from pipeline.evaluation.tables import read, write
from pipeline.programs import SPLITS
from tests.helpers import file_bytes

RUNS: list[dict[str, Any]] = [{"seed": 0, "parameters": {"trainable": 5}}, {"seed": 4, "parameters": {"trainable": 5}}]


def accuracy() -> pd.DataFrame:
    rows = [
        [seed, split, u, u.split("(")[0], 10 * (u != "flip"), 3 * (u != "flip"), 0.125 if u != "flip" else math.nan]
        for seed in (0, 4)
        for split in SPLITS
        for u in ("fill", "flip", "move_right(7)")
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_evaluations_come_back(tmp_path: Path) -> None:
    write(tmp_path / "made", accuracy(), RUNS)
    table, runs = read(tmp_path / "made")
    pd.testing.assert_frame_equal(table, accuracy(), check_dtype=False)
    assert runs == RUNS
    write(tmp_path / "again", table, runs)
    assert file_bytes(tmp_path / "made") == file_bytes(tmp_path / "again")


def test_bytes_are_plain_and_short(tmp_path: Path) -> None:
    table = accuracy()
    table.loc[0, "loss"] = 1 / 3
    write(tmp_path, table, RUNS)
    lines = (tmp_path / "accuracy.csv").read_bytes().split(b"\n")
    assert lines[0] == b"seed,split,intent,kind,examples,solved,loss"
    assert lines[1] == b"0,train,fill,fill,10,3,0.333333"
    assert lines[2] == b"0,train,flip,flip,0,0,"
    assert lines[-1] == b""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("accuracy.csv", None, r"accuracy.csv is missing; run `dvc repro`"),
        ("accuracy.csv", b"", r"accuracy.csv cannot be read"),
        ("accuracy.csv", b"\xff\xfe\xff", r"accuracy.csv cannot be read"),
        ("accuracy.csv", b'a,b\n1,2\n"3', r"accuracy.csv (cannot be read|lacks the columns)"),
        ("accuracy.csv", b"seed,split\n0,val\n", r"accuracy.csv lacks the columns seed, split, intent"),
        ("runs.json", None, r"runs.json is missing; run `dvc repro`"),
        ("runs.json", b"[", r"runs.json is not valid JSON"),
        ("runs.json", b"{}", r"runs.json does not hold runs"),
        ("runs.json", b"[1, 2]", r"runs.json does not hold runs"),
        ("runs.json", b'[{"step": 1}]', r"runs.json does not hold runs"),
        ("runs.json", b'[{"seed": 0}]', r"accuracy.csv and runs.json name different seeds; delete"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    write(tmp_path, accuracy(), RUNS)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value).strip()


@pytest.mark.parametrize("lines", [1, 2, 13])
def test_a_table_that_lost_a_seed_is_refused(tmp_path: Path, lines: int) -> None:
    write(tmp_path, accuracy(), RUNS)
    path = tmp_path / "accuracy.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    with pytest.raises(UserError, match=r"accuracy.csv and runs.json name different seeds"):
        read(tmp_path)
