"""Bundles: what is in them, what is brought home by them, and all that is refused."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.offsite import bring as bringing
from pipeline.offsite.bring import Brought, bring
from pipeline.offsite.bundle import BUNDLED, MIB, bundle
from pipeline.offsite.checks import steps
from pipeline.offsite.inputs import prepare
from pipeline.offsite.manifest import File
from pipeline.offsite.missing import items, missing
from pipeline.params import Params
from pipeline.training import machine
from pipeline.training.checkpoint import FILE as CHECKPOINT
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.recipe import recipe
from pipeline.training.run import Places, train
from tests.helpers import file_bytes, tiny
from tests.offsite.conftest import SMALL

PACKED = {**SMALL, "grid.learners": ["meta_mlp"], "grid.seeds": ["0-1", 2, 3]}


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """A machine on which the pack 0-1 and seed 2 are trained, and seed 3 is half-way."""
    places, params = Places(tmp_path_factory.mktemp("away")), tiny(PACKED)
    prepare(params, ["sumfirst"], places)
    of = recipe(params, "sumfirst", "meta_mlp")
    for seed in (0, 2):
        train(params, of.run(seed), places=places)
    with pytest.raises(Interrupted):
        train(params, of.run(3), Hooks(stop=lambda: True), places)
    return places


@pytest.fixture
def packed() -> Params:
    return tiny(PACKED)


@pytest.fixture
def file(away: Places, packed: Params, tmp_path: Path) -> Path:
    """A bundle of all that is there."""
    (path,) = bundle(packed, tmp_path / "out.zip", places=away)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Places:
    """A checkout in which nothing is trained."""
    (tmp_path / "home").mkdir()
    return Places(tmp_path / "home")


def titles(brought: Brought) -> tuple[list[str], list[str], list[str]]:
    return tuple([item.run.title for item in part] for part in (brought.placed, brought.same, brought.kept))  # type: ignore


def all_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rewrite(file: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> None:
    """Write the bundle again with other members and another manifest."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(members, manifest)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, content in members.items():
            archive.writestr(name, content)


def replaced(name: str, content: Callable[[bytes], bytes]) -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    """Another content of seed 2's file, with the size and the digest that belong to it."""

    def change(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        member = f"runs/sumfirst/meta_mlp/2/2/{name}"
        members[member] = content(members[member])
        (run,) = (run for run in manifest["runs"] if run["seed"] == 2)
        run["files"][name] = File.of(members[member]).model_dump()

    return change


def refused(home: Places, params: Params, *files: Path, match: str) -> None:
    """The import fails in one line that names what is wrong, and writes nothing."""
    before = all_files(home.root)
    with pytest.raises(UserError, match=match) as error:
        bring(params, files, places=home)
    assert "\n" not in str(error.value)
    assert all_files(home.root) == before


def test_a_bundle_brings_home_all_bytes(away: Places, packed: Params, file: Path, home: Places) -> None:
    brought = bring(packed, [file], places=home)
    assert titles(brought) == (["sumfirst/meta_mlp/0-1", "sumfirst/meta_mlp/2"], [], [])
    assert brought.checkpoints == 1
    for part in ("data/runs", "logs", "data/splits"):
        assert all_files(home.root / part) == all_files(away.root / part)
    assert not [path for path in home.root.iterdir() if path.name.startswith(".import-")]


def test_an_equal_machine_goes_on_from_a_checkpoint(packed: Params, file: Path, home: Places, tmp_path: Path) -> None:
    bring(packed, [file], places=home)
    (item,) = missing(packed, home, torch.device("cpu"))
    assert item.half_way(home)
    train(packed, item.run, places=home)
    assert read_json(home.log(item.run))["resumed"] == 1
    unbroken = Places(tmp_path / "unbroken")
    prepare(packed, ["sumfirst"], unbroken)
    train(packed, item.run, places=unbroken)
    assert file_bytes(home.run(item.run)) == file_bytes(unbroken.run(item.run))


def test_importing_twice_is_harmless(packed: Params, file: Path, home: Places) -> None:
    bring(packed, [file], places=home)
    before = all_files(home.root)
    assert titles(bring(packed, [file, file], places=home)) == (
        [],
        ["sumfirst/meta_mlp/0-1", "sumfirst/meta_mlp/2"],
        [],
    )
    assert all_files(home.root) == before


def test_a_run_that_is_here_with_other_bytes_is_kept_unless_told(packed: Params, file: Path, home: Places) -> None:
    bring(packed, [file], places=home)
    path = home.root / "data/runs/sumfirst/meta_mlp/0-1/1/history.parquet"
    original = path.read_bytes()
    path.write_bytes(b"other")
    assert titles(bring(packed, [file], places=home))[2] == ["sumfirst/meta_mlp/0-1"]
    assert path.read_bytes() == b"other"
    assert titles(bring(packed, [file], replace=True, places=home))[0] == ["sumfirst/meta_mlp/0-1"]
    assert path.read_bytes() == original


def test_equal_contents_give_an_equal_bundle(away: Places, packed: Params, file: Path, tmp_path: Path) -> None:
    (again,) = bundle(packed, tmp_path / "again.zip", places=away)
    assert again.read_bytes() == file.read_bytes()


def test_parts_are_no_larger_than_asked_and_come_home_together(
    away: Places, packed: Params, home: Places, tmp_path: Path
) -> None:
    limit = 0.1
    parts = bundle(packed, tmp_path / "out.zip", limit=limit, places=away)
    assert [path.name for path in parts] == [f"out-{n}.zip" for n in range(1, len(parts) + 1)]
    assert len(parts) > 1
    assert all(path.stat().st_size <= limit * MIB for path in parts)
    assert len(titles(bring(packed, parts, places=home))[0]) == 2


def test_a_new_bundle_holds_what_no_earlier_one_does(
    away: Places, packed: Params, home: Places, tmp_path: Path
) -> None:
    places = Places(Path(shutil.copytree(away.root, tmp_path / "copy", ignore=shutil.ignore_patterns(BUNDLED.name))))
    (path,) = bundle(packed, tmp_path / "one.zip", new=True, places=places)
    assert len(titles(bring(packed, [path], places=home))[0]) == 2
    assert bundle(packed, tmp_path / "two.zip", new=True, places=places) == []
    run = recipe(packed, "sumfirst", "meta_mlp").run(3)
    train(packed, run, places=places)
    (path,) = bundle(packed, tmp_path / "three.zip", limit=1, new=True, places=places)
    assert titles(bring(packed, [path], places=home)) == (["sumfirst/meta_mlp/3"], [], [])


def test_a_run_is_never_cut(away: Places, packed: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = bundle(packed, tmp_path / "out.zip", limit=0.001, places=away)
    assert len(parts) == 4
    assert "out-1.zip is larger than 0.001 MiB: runs/sumfirst/meta_mlp/0-1/0 is not cut" in capsys.readouterr().err


def test_half_a_pack_is_refused(away: Places, packed: Params, home: Places, tmp_path: Path) -> None:
    parts = bundle(packed, tmp_path / "out.zip", limit=0.001, places=away)
    refused(home, packed, parts[0], match=r"lack seed 1 of sumfirst/meta_mlp/0-1; give all of its parts")
    bring(packed, [parts[2]], places=home)  # a seed alone


def test_nothing_to_bundle_is_said(packed: Params, home: Places) -> None:
    with pytest.raises(UserError, match=r"nothing that params.yaml names is finished or half-way here"):
        bundle(packed, home.root / "out.zip", places=home)


def places_of_contents(file: Path) -> list[int]:
    """Where the first, a middle and the last byte of each file in a bundle are; between files are the format's own."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    header = 30  # bytes, then the name; no other field has a variable length here
    begins = [info.header_offset + header + len(info.filename) for info in infos]
    return [
        begin + place
        for info, begin in zip(infos, begins, strict=True)
        for place in (0, info.file_size // 2, info.file_size - 1)
    ]


def test_a_changed_byte_of_any_file_is_refused(packed: Params, file: Path, home: Places) -> None:
    content = file.read_bytes()
    for place in places_of_contents(file):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused(home, packed, file, match=r"out.zip is no bundle to import: ")


def test_a_bundle_that_is_cut_off_is_refused(packed: Params, file: Path, home: Places) -> None:
    content = file.read_bytes()
    for keep in (0, 10, len(content) - 1):
        file.write_bytes(content[:keep])
        refused(home, packed, file, match=r"out.zip is no bundle to import: ")


def test_other_code_is_refused(packed: Params, file: Path, home: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "code_digest", lambda: "0" * 16)
    refused(home, packed, file, match="other code made it")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"learners.sumfirst.meta_mlp.learning_rate": 0.5}, "settings.learning_rate"),
        ({"training.sumfirst.steps": 4}, "training.steps"),
        ({"programs.sumfirst.seed": 5}, "data"),
        ({"templates.sumfirst.hidden": [7]}, "template.sizes"),
        ({"grid.seeds": [2, 3]}, "params.yaml does not ask for runs/sumfirst/meta_mlp/0-1/0"),
        ({"grid.learners": ["meta_gnn"]}, "params.yaml does not ask for sumfirst/meta_mlp"),
    ],
    ids=str,
)
def test_other_settings_are_refused_by_name(file: Path, home: Places, changes: dict[str, Any], name: str) -> None:
    refused(home, tiny({**PACKED, **changes}), file, match=name)


def drop(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    del members["runs/sumfirst/meta_mlp/2/2/config.json"]


def stray(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["../../evil.py"] = b"evil"


def lead_outside(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    run = manifest["runs"][0]
    for name in run["files"]:
        members[f"runs/../../x/{run['item']}/{run['seed']}/{name}"] = members.pop(
            f"runs/sumfirst/meta_mlp/{run['item']}/{run['seed']}/{name}"
        )
    run["study"], run["name"] = "..", "../x"


def other_file(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["runs"][0]["files"]["../../../x.py"] = File.of(b"x").model_dump()
    members["runs/sumfirst/meta_mlp/0-1/0/../../../x.py"] = b"x"


def wrong_size(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["runs"][0]["files"]["config.json"]["size"] += 1


def absurd_size(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["runs"][0]["files"]["config.json"]["size"] = 2**40


def twice(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["runs"].append(manifest["runs"][0])


def other_seed(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["runs"][0]["seed"] = 7
    for name in manifest["runs"][0]["files"]:
        members[f"runs/sumfirst/meta_mlp/0-1/7/{name}"] = members.pop(f"runs/sumfirst/meta_mlp/0-1/0/{name}")


def newer(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


def unknown_key(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["execute"] = "x"


@pytest.mark.parametrize(
    "change",
    [drop, stray, lead_outside, other_file, wrong_size, absurd_size, twice, other_seed, newer, unknown_key],
    ids=lambda change: change.__name__,
)
def test_what_is_no_bundle_is_refused(
    packed: Params, file: Path, home: Places, change: Callable[[dict[str, bytes], dict[str, Any]], None]
) -> None:
    rewrite(file, change)
    refused(home, packed, file, match=r"out.zip is no bundle to import: ")


def reshaped(content: bytes) -> bytes:
    return save({"one": torch.zeros(3)})


def other_configuration(content: bytes) -> bytes:
    return content.replace(b'"seed": 2', b'"seed": 9', 1)


def other_count(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "parameters": {"trainable": 1, "frozen": 0}}).encode()


def no_selection(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "selected": {"step": "now"}}).encode()


def no_history(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"step": ["a"]}), sink)
    return bytes(sink.getvalue())


def nothing(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.safetensors", reshaped),
        ("last.safetensors", reshaped),
        ("weights.safetensors", nothing),
        ("last.safetensors", nothing),
        ("config.json", other_configuration),
        ("config.json", other_count),
        ("config.json", no_selection),
        ("config.json", nothing),
        ("history.parquet", no_history),
        ("history.parquet", nothing),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_training_does_not_write_is_refused(
    packed: Params, file: Path, home: Places, name: str, content: Callable[[bytes], bytes]
) -> None:
    rewrite(file, replaced(name, content))
    refused(home, packed, file, match=r"out.zip is no bundle to import: runs/sumfirst/meta_mlp/2/2")


def test_values_of_another_type_are_refused(packed: Params, file: Path, home: Places, away: Places) -> None:
    of = recipe(packed, "sumfirst", "meta_mlp")
    path = away.run(of.run(2)) / "weights.safetensors"
    double = save({key: value.double() for key, value in load_file(path).items()})
    rewrite(file, replaced("weights.safetensors", lambda content: double))
    refused(home, packed, file, match="weights.safetensors does not hold this learner's tensors")


@pytest.mark.parametrize("kind", ["link", "compressed", "folder"])
def test_only_plain_stored_files_are_read(packed: Params, file: Path, home: Places, kind: str) -> None:
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if name.endswith("config.json"):
                info.external_attr = {"link": stat.S_IFLNK, "folder": stat.S_IFDIR}.get(kind, 0) << 16
                info.compress_type = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
            archive.writestr(info, content)
    refused(home, packed, file, match=r"config.json is (no plain file|not stored as it is)")


def test_a_checkpoint_of_another_machine_lies_unused(packed: Params, file: Path, home: Places) -> None:
    def other_machine(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["checkpoints"][0]["bits"] = ["9.9.9", "cuda", 1]

    rewrite(file, other_machine)
    assert bring(packed, [file], places=home).checkpoints == 1
    (item,) = missing(packed, home, torch.device("cpu"))
    assert not item.half_way(home)


def test_a_checkpoint_does_not_replace_ones_own(packed: Params, file: Path, home: Places, away: Places) -> None:
    shutil.copytree(away.root / ".scratch", home.root / ".scratch")
    assert bring(packed, [file], places=home).checkpoints == 0
    found = items(packed, recipe(packed, "sumfirst", "meta_mlp"), home, machine.prepare())
    assert [item.run.item for item in found if item.finished(home)] == ["0-1", "2"]


def test_of_two_checkpoints_the_one_further_on_is_taken(
    packed: Params, file: Path, home: Places, away: Places, tmp_path: Path
) -> None:
    further = Places(Path(shutil.copytree(away.root, tmp_path / "further")))
    with pytest.raises(Interrupted):
        train(packed, recipe(packed, "sumfirst", "meta_mlp").run(3), Hooks(stop=lambda: True), further)
    (second,) = bundle(packed, tmp_path / "second.zip", places=further)
    for files, number in (([file], 1), ([file, second], 2), ([file], 2), ([second, file], 2)):
        bring(packed, files, places=home)
        (item,) = missing(packed, home, torch.device("cpu"))
        assert steps(item.scratch(home) / CHECKPOINT) == number


def test_what_is_no_checkpoint_is_refused(packed: Params, file: Path, home: Places) -> None:
    def other(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        member = "checkpoints/sumfirst/meta_mlp/3/checkpoint.safetensors"
        members[member] = reshaped(members[member])
        manifest["checkpoints"][0]["files"]["checkpoint.safetensors"] = File.of(members[member]).model_dump()

    rewrite(file, other)
    refused(home, packed, file, match="checkpoints/sumfirst/meta_mlp/3 is no checkpoint")


def test_no_file_is_refused(packed: Params, home: Places) -> None:
    refused(home, packed, home.root / "none.zip", match="none.zip is no bundle to import: .*No such file")
