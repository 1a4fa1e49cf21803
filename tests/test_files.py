"""Files: whole or not at all, equal values give equal bytes, damage is told in one line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import files
from pipeline.errors import UserError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on" / "the" / "way.txt"
    for text in ("first", "second"):
        with files.replacing(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text(text)
        assert path.read_text() == text
    assert names(path.parent) == ["way.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "directory"
    for name in ("first", "second"):
        with files.replacing_directory(path) as temporary:
            (temporary / name).write_text(name)
    assert names(path) == ["second"]
    assert names(path.parent) == ["directory"]


def test_a_failed_directory_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    (path / "old").write_text("old")

    def write() -> None:
        with files.replacing_directory(path) as temporary:
            (temporary / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert names(path) == ["old"]
    assert names(tmp_path) == ["directory"]


def test_what_a_killed_write_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    with files.replacing_directory(tmp_path / "directory") as temporary:
        left = temporary
    left.mkdir()
    (left / "stray").write_text("stray")
    with files.replacing_directory(tmp_path / "directory") as temporary:
        assert temporary == left
    assert names(tmp_path / "directory") == []


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "text", "θ → 1\n2\n")
    assert (tmp_path / "text").read_bytes() == "θ → 1\n2\n".encode()


@settings(max_examples=20)
@given(JSON)
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


def test_equal_values_give_equal_json(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a", {"θ": 1, "b": {"d": [1.5, None], "c": True}})
    files.write_json(tmp_path / "b", {"b": {"c": True, "d": [1.5, None]}, "θ": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert '"θ": 1' in (tmp_path / "a").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1} 2', b"\xff\xff"])
def test_json_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.json"
    with pytest.raises(UserError, match=r"some.json is missing; run `dvc repro`"):
        files.read_json(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"some.json is not valid JSON .*; delete .*some.json and run"):
        files.read_json(path)


def test_equal_tables_give_equal_parquet(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    files.write_parquet(tmp_path / "a", table)
    files.write_parquet(tmp_path / "b", table.replace_schema_metadata({"pandas": "some machine"}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert files.read_parquet(tmp_path / "a") == table
    assert files.read_parquet(tmp_path / "a", ["b"]).column_names == ["b"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_parquet_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "table.parquet"
    files.write_parquet(path, pa.table({"a": list(range(1000))}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"table.parquet cannot be read .*; delete .*table.parquet and run"):
        files.read_parquet(path)


def test_a_parquet_that_is_missing_or_lacks_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(UserError, match=r"table.parquet is missing"):
        files.read_parquet(path)
    files.write_parquet(path, pa.table({"a": [1]}))
    with pytest.raises(UserError, match=r"table.parquet cannot be read .*b"):
        files.read_parquet(path, ["a", "b"])


def test_digest_is_of_the_value_alone() -> None:
    expected = hashlib.sha256('{"a":1,"b":[2.5,"θ"]}'.encode()).hexdigest()[:16]
    assert files.digest({"a": 1, "b": [2.5, "θ"]}) == files.digest({"b": [2.5, "θ"], "a": 1}) == expected
    different = [{"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, [], None, "a"]
    assert len({files.digest(value) for value in different}) == len(different)


def test_digest_of_files_sees_names_contents_and_order(tmp_path: Path) -> None:
    for folder, name, content in [("1", "a", "x"), ("2", "a", "x"), ("1", "b", "x"), ("2", "b", "y")]:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(content)
    a1, a2, b1, b2 = (tmp_path / place for place in ("1/a", "2/a", "1/b", "2/b"))
    assert files.digest_files([a1, b2]) == files.digest_files([a2, b2])
    assert len({files.digest_files(paths) for paths in ([a1, b1], [b1, a1], [a1, b2], [a1], [])}) == 5


def test_what_is_kept_in_git_comes_back_from_there(tmp_path: Path) -> None:
    kept = tmp_path / "results/paper/weights/config.json"
    with pytest.raises(UserError, match=r"config.json is missing; `git checkout \S+config.json` brings it back"):
        files.read_json(kept)
    files.write_text(kept, "{")
    with pytest.raises(UserError, match=r"is not valid JSON .*; `git checkout \S+config.json` brings it back"):
        files.read_json(kept)
