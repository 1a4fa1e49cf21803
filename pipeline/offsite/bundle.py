"""Writes what was trained here into files that another machine can take over: finished runs, and checkpoints."""

from __future__ import annotations

import math
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import digest, read_json, replacing, write_json
from pipeline.offsite.inputs import prepare
from pipeline.offsite.manifest import FORMAT, NAME, File, Finished, HalfWay, Log, Manifest
from pipeline.offsite.missing import Item, chosen, items
from pipeline.params import Params
from pipeline.training import machine
from pipeline.training.checkpoint import FILE as CHECKPOINT
from pipeline.training.run import FILES, Places, code_digest

MIB = 2**20
# What bundles of this working directory hold.
BUNDLED = Path(".scratch") / "bundled.json"
# What a file takes in an archive besides its bytes, and in the manifest.
OVERHEAD = 8192


@dataclass(frozen=True)
class Piece:
    """An entry of a bundle, and where its files are now."""

    entry: Finished | HalfWay
    directory: Path

    @property
    def size(self) -> int:
        """Bytes that it takes in a bundle, at most."""
        return sum(file.size + OVERHEAD for file in self.entry.files.values())

    @property
    def digest(self) -> str:
        """Of all its files' contents, and of its name."""
        return digest([self.entry.place, *(file.sha256 for file in self.entry.files.values())])


def bundle(
    params: Params,
    output: Path,
    only: Sequence[str] = (),
    limit: float | None = None,
    new: bool = False,
    places: Places | None = None,
) -> list[Path]:
    """Write all finished runs and all checkpoints of the present settings to `output`; returns the files.

    With `new`, only what no earlier bundle of this working directory holds, which may be nothing.

    With a `limit` in MiB there are several, `<output>-1.zip` …, none of them larger: each is a bundle by itself. A
    run or a checkpoint that is larger alone is not cut, and a line says so.

    Raises `UserError` if nothing is there.
    """
    places, device = places or Places(), machine.prepare()
    recipes = chosen(params, only)
    prepare(params, dict.fromkeys(of.family for of in recipes), places)
    found = [piece for of in recipes for item in items(params, of, places, device) for piece in _of(item, places)]
    earlier = set(read_json(places.root / BUNDLED)) if new and (places.root / BUNDLED).exists() else set()
    found = [piece for piece in found if piece.digest not in earlier]
    if not found and not new:
        raise UserError("nothing that params.yaml names is finished or half-way here; run `neurop train --missing`")
    written = []
    for number, part in enumerate(_parts(found, limit or math.inf), 1):
        path = output if limit is None else output.with_name(f"{output.stem}-{number}{output.suffix}")
        _write(path, part, places.root)
        if limit is not None and path.stat().st_size > limit * MIB:
            print(f"{path} is larger than {limit:g} MiB: {part[0].entry.place} is not cut", file=sys.stderr)
        written.append(path)
    write_json(places.root / BUNDLED, sorted(earlier | {piece.digest for piece in found}))
    return written


def _of(item: Item, places: Places) -> Iterator[Piece]:
    """The runs of an item if it is finished, else its checkpoint if it has one."""
    about = {"study": item.run.study, "name": item.run.name, "item": item.run.item}
    if item.finished(places):
        for run in item.run.together:
            directory, log = places.run(run), places.log(run)
            entry = Finished(
                **about,
                seed=run.seed,
                configuration={**item.config, "seed": run.seed},
                files={name: File.of((directory / name).read_bytes()) for name in FILES},
                log=Log.model_validate(read_json(log)) if log.exists() else None,
            )
            yield Piece(entry, directory)
    elif item.half_way(places):
        directory = item.scratch(places)
        files = {CHECKPOINT: File.of((directory / CHECKPOINT).read_bytes())}
        yield Piece(HalfWay(**about, configuration=item.config, files=files, bits=item.bits), directory)


def _parts(pieces: Sequence[Piece], limit: float) -> Iterator[list[Piece]]:
    """The pieces in their order, as many at a time as fit."""
    part: list[Piece] = []
    for piece in pieces:
        if part and sum(each.size for each in [*part, piece]) + OVERHEAD > limit * MIB:
            yield part
            part = []
        part.append(piece)
    if part:
        yield part


def _write(output: Path, pieces: Sequence[Piece], root: Path) -> None:
    """One archive: the manifest, then every file, stored as it is."""
    entries = [piece.entry for piece in pieces]
    manifest = Manifest(
        format=FORMAT,
        code=code_digest(),
        commit=_commit(root),
        runs=[entry for entry in entries if isinstance(entry, Finished)],
        checkpoints=[entry for entry in entries if isinstance(entry, HalfWay)],
    )
    with replacing(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        # A ZipInfo without a time: equal contents give equal bytes.
        archive.writestr(zipfile.ZipInfo(NAME), manifest.model_dump_json(indent=1))
        for piece in pieces:
            for name in piece.entry.files:
                archive.writestr(zipfile.ZipInfo(f"{piece.entry.place}/{name}"), (piece.directory / name).read_bytes())


def _commit(root: Path) -> str | None:
    """The commit that is checked out, if Git is there and knows one."""
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (subprocess.CalledProcessError, OSError):
        return None
