"""Examples on disk: one Parquet file per split, rows sorted, read back with checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.files import read_parquet, write_parquet
from pipeline.programs.base import SPLITS, Examples, Family, Intent


@dataclass(frozen=True)
class Split:
    """Examples of K intents as padded tensors: x [K, n, l], y [K, n, m] (int16), counts [K] (int64)."""

    intents: tuple[Intent, ...]
    x: Tensor
    y: Tensor
    counts: Tensor

    def to(self, device: torch.device) -> Split:
        """The same split on a device."""
        return Split(self.intents, self.x.to(device), self.y.to(device), self.counts.to(device))


def write_splits(directory: Path, splits: dict[str, Examples]) -> None:
    """Write `<split>.parquet` for each split: columns intent, x, y; one row an example."""
    for split, examples in splits.items():
        names = pa.array([str(intent) for intent in examples.intents])
        intent = pa.DictionaryArray.from_arrays(pa.array(examples.intent, pa.int16()), names)
        columns = {"intent": intent, "x": _lists(examples.x), "y": _lists(examples.y)}
        write_parquet(directory / f"{split}.parquet", pa.table(columns))


def summary(splits: dict[str, Examples]) -> dict[str, dict[str, int]]:
    """Examples of each intent and in all, per split (Table 4)."""
    table = {}
    for split, examples in splits.items():
        counts = np.bincount(examples.intent, minlength=len(examples.intents))
        by_intent = {str(u): int(n) for u, n in zip(examples.intents, counts, strict=True)}
        table[split] = {"total": int(counts.sum()), **by_intent}
    return table


def read_split(directory: Path, family: Family, split: str) -> Split:
    """Read one split. Raises `UserError` if the file is missing, damaged or of other settings."""
    path = directory / f"{split}.parquet"
    table = read_parquet(path, ["intent", "x", "y"])
    intents = family.intents(split)
    place = {str(intent): k for k, intent in enumerate(intents)}
    column = table["intent"].combine_chunks()
    named = pa.types.is_dictionary(column.type)
    known = [place.get(name) for name in column.dictionary.to_pylist()] if named else [None]
    x, y = _matrix(table["x"], family.input_length), _matrix(table["y"], family.output_length)
    if None in known or x is None or y is None:
        raise UserError(f"{path} was made with other settings; run `dvc repro generate@{family.name}`")
    intent = np.array(known)[column.indices.to_numpy()]
    return as_split(Examples(intents, intent, x, y))


def digest_splits(splits: Iterable[Split]) -> str:
    """SHA-256 (hex, 16 characters) of the examples of splits, whatever version of Parquet keeps them."""
    total = hashlib.sha256()
    for split in splits:
        names = "\0".join(map(str, split.intents))
        total.update(f"{names} {tuple(split.x.shape)} {tuple(split.y.shape)}".encode())
        for tensor in (split.counts, split.x, split.y):
            total.update(tensor.cpu().numpy().tobytes())
    return total.hexdigest()[:16]


def as_split(examples: Examples) -> Split:
    """Examples laid out per intent, padded with zeros to the longest intent."""
    intents, intent = examples.intents, examples.intent
    counts = np.bincount(intent, minlength=len(intents))
    order = np.argsort(intent, kind="stable")
    place = np.arange(len(intent)) - np.repeat(np.cumsum(counts) - counts, counts)
    tensors = []
    for values in (examples.x, examples.y):
        padded = np.zeros((len(intents), counts.max(), values.shape[1]), np.int16)
        padded[intent[order], place] = values[order]
        tensors.append(torch.from_numpy(padded))
    return Split(intents, tensors[0], tensors[1], torch.from_numpy(counts))


def _lists(values: np.ndarray) -> pa.Array:
    flat = pa.array(values.astype(np.int16).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _matrix(column: pa.ChunkedArray, width: int) -> np.ndarray | None:
    """Rows [N, width] of a list column, or None if its lists have another length."""
    lists = column.combine_chunks()
    if not pa.types.is_fixed_size_list(lists.type) or lists.type.list_size != width:
        return None
    values: np.ndarray = lists.flatten().to_numpy().reshape(-1, width)
    return values


def data_files(directory: Path) -> list[Path]:
    """The files of all splits, in order."""
    return [directory / f"{split}.parquet" for split in SPLITS]
