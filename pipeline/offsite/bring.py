"""Takes over runs from bundles: checked against this checkout, then renamed into their places."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.offsite.archive import Archive
from pipeline.offsite.checks import check_checkpoint, check_run, steps
from pipeline.offsite.inputs import prepare
from pipeline.offsite.manifest import Entry, Finished, HalfWay
from pipeline.offsite.missing import Item
from pipeline.params import Params
from pipeline.training.checkpoint import FILE as CHECKPOINT
from pipeline.training.recipe import Recipe, RunId, pack_runs, recipe, recipes
from pipeline.training.run import Places, code_digest, configuration


@dataclass
class Brought:
    """What an import did: items `placed`, those that were there with the same bytes, those that were `kept` as they
    were though the bundle has other bytes; and how many checkpoints were placed."""

    placed: list[Item]
    same: list[Item]
    kept: list[Item]
    checkpoints: int = 0


def bring(params: Params, paths: Sequence[Path], replace: bool = False, places: Places | None = None) -> Brought:
    """Import bundles, all together: a pack may be spread over several of them.

    Raises `UserError`, before anything is written, for a bundle that is damaged, made by other code, or with other
    settings or data than this checkout has, and for a pack of which seeds are missing.
    """
    places = places or Places()
    archives = [Archive(path) for path in paths]
    with tempfile.TemporaryDirectory(dir=places.root.absolute(), prefix=".import-", suffix=".partial") as directory:
        staged = Places(Path(directory))
        incoming = _Incoming(params, archives, staged)
        families = dict.fromkeys(item.config["family"] for item in (*incoming.items, *incoming.half_way))
        prepare(params, families, places)
        brought = Brought([], [], [])
        for item in incoming.items:
            _place(item, staged, places, replace, brought)
        brought.checkpoints = _place_checkpoints(incoming.half_way, staged, places)
    return brought


class _Incoming:
    """What bundles hold, checked, in a staging directory laid out as the working directory.

    `items`: finished ones, complete. `half_way`: those with a checkpoint.
    """

    def __init__(self, params: Params, archives: Sequence[Archive], staged: Places) -> None:
        self.params, self.staged = params, staged
        self.configurations: dict[str, dict[str, Any]] = {}
        self.items: list[Item] = []
        self.half_way: list[Item] = []
        known = {str(of): of for of in recipes(params)}
        for archive in archives:
            if archive.manifest.code != code_digest():
                commit = archive.manifest.commit or "unknown"
                raise archive.wrong(f"other code made it (commit {commit}, digest {archive.manifest.code})")
            for entry in archive.manifest.entries:
                of = known.get(f"{entry.study}/{entry.name}")
                if of is None:
                    raise archive.wrong(f"params.yaml does not ask for {entry.study}/{entry.name}")
                self._take(archive, of, entry)
        for item in self.items:
            lacking = [run for run in item.run.together if not staged.run(run).exists()]
            if lacking:
                raise UserError(f"the bundles lack seed {lacking[0].seed} of {item.run.title}; give all of its parts")

    def _take(self, archive: Archive, of: Recipe, entry: Finished | HalfWay) -> None:
        pack = next((pack for pack in of.packs if str(pack) == entry.item), None)
        seed = entry.seed if isinstance(entry, Finished) else pack.seeds[0] if pack else 0
        if pack is None or seed not in pack.seeds:
            raise archive.wrong(f"params.yaml does not ask for {entry.place}")
        first = pack_runs(of.study, of.name, pack)[0]
        config = self._configuration(first) | {"seed": seed}
        other = difference(config, entry.configuration)
        if other:
            raise archive.wrong(f"{entry.place} was made with another {other} than this checkout has")
        item_config = config | {"seed": first.seed}
        if isinstance(entry, HalfWay):
            self._take_checkpoint(archive, entry, Item(first, item_config, entry.bits))
            return
        run = next(run for run in first.together if run.seed == seed)
        self._stage(archive, entry, self.staged.run(run))
        check_run(archive, entry, self.staged.run(run), config)
        if entry.log is not None:
            write_json(self.staged.log(run), entry.log.model_dump())
        item = Item(first, item_config, [])
        if item not in self.items:
            self.items.append(item)

    def _take_checkpoint(self, archive: Archive, entry: HalfWay, item: Item) -> None:
        """Stage a checkpoint, unless another bundle has one that is further on."""
        path = item.scratch(self.staged) / CHECKPOINT
        incoming = path.with_name(f"incoming-{CHECKPOINT}")
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.write_bytes(archive.read(entry, CHECKPOINT))
        check_checkpoint(archive, entry, incoming)
        if not path.exists() or steps(incoming) > steps(path):
            os.replace(incoming, path)
        if item not in self.half_way:
            self.half_way.append(item)

    def _configuration(self, run: RunId) -> dict[str, Any]:
        """What this checkout would train `run` with, from inputs that are made for the check."""
        name = f"{run.study}/{run.name}"
        if name not in self.configurations:
            family = recipe(self.params, run.study, run.name).family
            if not self.staged.template(family).exists():
                prepare(self.params, [family], self.staged)
            self.configurations[name] = configuration(self.params, run, self.staged)
        return self.configurations[name]

    def _stage(self, archive: Archive, entry: Entry, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name in entry.files:
            content, path = archive.read(entry, name), directory / name
            if path.exists() and path.read_bytes() != content:
                raise archive.wrong(f"another bundle has other bytes of {entry.place}/{name}")
            path.write_bytes(content)


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """The dotted name of the first value in which two configurations differ; None if they are equal."""
    for name in sorted(expected.keys() | found.keys()):
        mine, theirs = expected.get(name), found.get(name)
        if mine != theirs:
            inner = difference(mine, theirs) if isinstance(mine, dict) and isinstance(theirs, dict) else None
            return f"{name}.{inner}" if inner else name
    return None


def _place(item: Item, staged: Places, places: Places, replace: bool, brought: Brought) -> None:
    """Rename an item's output into its place, unless one with other bytes is there."""
    source, target = staged.output(item.run), places.output(item.run)
    if target.exists() and _contents(source) == _contents(target):
        brought.same.append(item)
    elif target.exists() and not replace:
        brought.kept.append(item)
    else:
        _swap(source, target)
        for run in item.run.together:
            if staged.log(run).exists():
                _swap(staged.log(run), places.log(run))
        brought.placed.append(item)


def _place_checkpoints(half_way: Sequence[Item], staged: Places, places: Places) -> int:
    """Rename checkpoints into their places, unless this machine is as far on itself; returns how many."""
    placed = 0
    for item in half_way:
        source, target = item.scratch(staged) / CHECKPOINT, item.scratch(places) / CHECKPOINT
        if not item.finished(places) and (not target.exists() or steps(source) > steps(target)):
            _swap(source, target)
            placed += 1
    return placed


def _swap(source: Path, target: Path) -> None:
    """Rename into place what is in staging; what was there goes with the staging directory."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        os.replace(target, source.with_name(f"{source.name}.replaced"))
    os.replace(source, target)


def _contents(directory: Path) -> dict[str, bytes]:
    """All files below a directory by name."""
    return dict(_files(directory))


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(directory)), path.read_bytes()
