"""Examples on disk: the same bytes everywhere, padded tensors equal to the examples, damage told in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.errors import UserError
from pipeline.files import write_parquet
from pipeline.params import FAMILIES, Params
from pipeline.programs import SPLITS, make_family
from pipeline.programs.tables import data_files, read_split, summary, write_splits
from tests.helpers import ROOT, file_bytes, tiny, tiny_values, write_params

FILES = [f"{split}.parquet" for split in SPLITS]
GENERATE_ALL = "from stages.generate import main\nfor family in ('sumfirst', 'addmod', 'arc1d'):\n    main([family])"


@pytest.mark.parametrize("name", FAMILIES)
def test_two_writes_give_the_same_bytes(tmp_path: Path, params: Params, name: str) -> None:
    for folder in ("one", "two"):
        write_splits(tmp_path / folder, make_family(params, name).generate())
    assert file_bytes(tmp_path / "one") == file_bytes(tmp_path / "two")
    assert [path.name for path in data_files(tmp_path / "one")] == FILES
    assert sorted(file_bytes(tmp_path / "one")) == sorted(FILES)


def test_another_process_gives_the_same_bytes(tmp_path: Path, params: Params) -> None:
    write_params(tmp_path / "params.yaml", tiny_values())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", GENERATE_ALL], cwd=tmp_path, env=environment, check=True)
    for name in FAMILIES:
        write_splits(tmp_path / "here" / name, make_family(params, name).generate())
        assert file_bytes(tmp_path / "data" / "splits" / name) == file_bytes(tmp_path / "here" / name)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_read_is_what_was_generated(tmp_path: Path, params: Params, name: str) -> None:
    family = make_family(params, name)
    splits = family.generate()
    write_splits(tmp_path, splits)
    for split, examples in splits.items():
        read = read_split(tmp_path, family, split)
        assert read.intents == examples.intents
        assert read.x.dtype == read.y.dtype == torch.int16
        assert read.x.shape[:2] == read.y.shape[:2] == (len(read.intents), read.counts.max())
        for k in range(len(read.intents)):
            n, mine = int(read.counts[k]), examples.intent == k
            assert n == mine.sum()
            assert np.array_equal(read.x[k, :n].numpy(), examples.x[mine])
            assert np.array_equal(read.y[k, :n].numpy(), examples.y[mine])
            assert not read.x[k, n:].any()
            assert not read.y[k, n:].any()
        moved = read.to(torch.device("cpu"))
        assert torch.equal(moved.x, read.x)
        assert moved.intents == read.intents


def test_files_are_plain_parquet(tmp_path: Path, params: Params) -> None:
    splits = make_family(params, "addmod").generate()
    write_splits(tmp_path, splits)
    table = pq.read_table(tmp_path / "val.parquet").to_pylist()
    assert table[0].keys() == {"intent", "x", "y"}
    assert all((sum(row["x"]) - row["y"][0]) % int(row["intent"].removeprefix("p=")) == 0 for row in table)
    assert pq.read_schema(tmp_path / "val.parquet").pandas_metadata is None


def test_summary_counts_each_intent(params: Params) -> None:
    table = summary(make_family(params, "sumfirst").generate())
    assert table["train"] == {"total": 61, "n=1": 21, "n=2": 20, "n=3": 20}
    assert table["ood"] == {"total": 30, "n=5": 30}


@pytest.fixture
def splits(tmp_path: Path, params: Params) -> Path:
    write_splits(tmp_path / "sumfirst", make_family(params, "sumfirst").generate())
    return tmp_path / "sumfirst"


def test_missing_and_truncated_splits_are_refused(splits: Path, params: Params) -> None:
    family, path = make_family(params, "sumfirst"), splits / "train.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"train.parquet cannot be read .*; delete .*train.parquet and run `dvc repro`"):
        read_split(splits, family, "train")
    path.unlink()
    with pytest.raises(UserError, match=r"train.parquet is missing; run `dvc repro` to make it"):
        read_split(splits, family, "train")


@pytest.mark.parametrize(
    "changes", [{"programs.sumfirst.length": 6}, {"programs.sumfirst.train_n": [1, 2]}, {"programs.sumfirst.length": 4}]
)
def test_splits_of_other_settings_are_refused(splits: Path, changes: dict[str, object]) -> None:
    changes = {"programs.sumfirst.ood_n": [3], "programs.sumfirst.train_n": [1, 2], **changes}
    with pytest.raises(
        UserError, match=r"train.parquet was made with other settings; run `dvc repro generate@sumfirst`"
    ):
        read_split(splits, make_family(tiny(changes), "sumfirst"), "train")


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"intent": ["n=1"], "x": [[0] * 5], "y": [[0]]}),  # names that are no dictionary, lists of any length
        pa.table({"intent": pa.array(["n=1"]).dictionary_encode(), "x": [0], "y": [0]}),
    ],
)
def test_tables_of_another_shape_are_refused(tmp_path: Path, params: Params, table: pa.Table) -> None:
    write_parquet(tmp_path / "train.parquet", table)
    with pytest.raises(UserError, match="was made with other settings"):
        read_split(tmp_path, make_family(params, "sumfirst"), "train")
