"""What machines exchange through a DVC remote: inputs, outputs, and the entry that says which belong together.

That entry is DVC's own, of its run-cache: its name is the digest of the stage's command, settings and inputs. So a
stage that any machine has run is found by every other one, without asking who ran it or when.

`python -m pipeline.flows.exchange VERB …` is a program of its own: DVC is made for one thing at a time in a process.
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import UserError, run_main
from pipeline.flows.entries import check_entry, check_names
from pipeline.flows.repair import repair

Entries = dict[str, dict[str, Any]]  # what dvc.lock says, by stage


class Exchange:
    """The workspace's DVC repository and its default remote. `opened` makes one."""

    def __init__(self, repo: Any) -> None:
        self.repo = repo
        name = repo.config["core"].get("remote")
        if name is None:
            raise UserError("no DVC remote is the default here; give one: `dvc remote add --local --default NAME URL`")
        if name not in repo.config["remote"]:
            raise UserError(f"the default DVC remote '{name}' is not defined; `dvc remote add --local {name} URL`")
        # What comes from another machine is hashed anew.
        repo.config["remote"][name]["verify"] = True
        self.name, self.url = name, _without_password(repo.config["remote"][name]["url"])

    @staticmethod
    @contextmanager
    def opened() -> Iterator[Exchange]:
        """The exchange of the working directory. What DVC and the storage raise becomes a `UserError` of one line."""
        from dvc.exceptions import DvcException
        from dvc.repo import Repo, lock_repo

        repair(Path())
        try:
            with Repo(_wait_for_lock=True) as repo, lock_repo(repo):
                exchange = Exchange(repo)
                try:
                    yield exchange
                except UserError:
                    raise
                except Exception as error:  # the storage's own: those of S3, of SSH, of a folder
                    raise UserError(exchange.failure(error)) from None
        except DvcException as error:
            raise UserError(f"DVC: {_line(error)}") from None

    def failure(self, error: BaseException) -> str:
        """One line on what the remote does not do."""
        return f"the DVC remote '{self.name}' ({self.url}): {_line(error)}"

    def check(self) -> None:
        """Write, read and remove a file of the remote. Raises `UserError` if it cannot be reached or has no rights."""
        odb = self._remote()
        path = odb.fs.join(odb.path, f"neurop-check-{uuid.uuid4().hex}")
        try:
            odb.fs.makedirs(odb.path, exist_ok=True)
            odb.fs.pipe_file(path, b"neurop")
            found = odb.fs.cat_file(path)
            odb.fs.remove(path)
        except Exception as error:
            raise UserError(f"{self.failure(error)}; it must be there, and writable from here") from None
        if found != b"neurop":
            raise UserError(f"the DVC remote '{self.name}' ({self.url}) gives back other bytes than it was given")

    def offer(self, name: str) -> Entries:
        """Put what the stage `name` needs on the remote; returns the entries of the stages that made it."""
        from dvc.stage.serialize import to_single_stage_lockfile

        producers = sorted(stage.addressing for stage in self.repo.index.graph.successors(self._stage(name)))
        if producers:
            self.repo.push(targets=producers)
        return {each: to_single_stage_lockfile(self._stage(each)) for each in producers}

    def accept(self, entries: Entries) -> None:
        """Bring what `offer` put there into the workspace."""
        from dvc.stage.loader import StageLoader

        for name, entry in entries.items():
            stage = self._stage(name)
            check_entry(name, entry, [out.def_path for out in stage.outs])
            StageLoader.fill_from_lock(stage, entry)
            stage.dump(update_pipeline=False)
        if entries:
            self.repo.fetch(targets=list(entries))
            for name in entries:
                self._check_files(self._stage(name))
            self.repo.checkout(targets=list(entries), force=True)

    def give(self, name: str) -> None:
        """Put the outputs of a stage that has run here on the remote, and then its entry: what has one is whole."""
        self.repo.push(targets=[name])
        folder, odb = self._entries(self._saved(name)), self._remote()
        if folder is None or not (self._local / folder).is_dir():
            return  # a stage without inputs or with an uncached output has no entry
        for path in sorted((self._local / folder).iterdir()):
            there = odb.fs.join(odb.path, "runs", *Path(folder, path.name).parts)
            odb.fs.makedirs(odb.fs.parent(there), exist_ok=True)
            odb.fs.pipe_file(there, path.read_bytes())

    def take(self, name: str) -> bool:
        """Bring the outputs of a stage that another machine has run; False if none has."""
        stage = self._saved(name)
        folder = self._entries(stage)
        found = None if folder is None else self._fetched(name, stage, folder)
        if found is None:
            return False
        found.checkout(force=True)
        stage.save()
        stage.commit()
        stage.dump(update_pipeline=False)
        return True

    def _fetched(self, name: str, stage: Any, folder: str) -> Any:
        """The stage with the outputs that its entry on the remote names, now in the cache; None if it has no entry.

        Of several entries, of machines whose bits differ, every head takes the same.
        """
        from dvc.exceptions import CollectCacheError
        from dvc.stage.cache import _get_cache_hash
        from dvc.utils.serialize import loads_yaml

        odb = self._remote()
        there = odb.fs.join(odb.path, "runs", *Path(folder).parts)
        paths = sorted(odb.fs.find(there)) if odb.fs.exists(there) else []
        if not paths:
            return None
        entry = loads_yaml(odb.fs.cat_file(paths[0]).decode())
        check_entry(name, entry, [out.def_path for out in stage.outs])
        if _get_cache_hash({**entry}, key=True) != folder.rpartition("/")[2]:
            raise UserError(
                f"the entry of {name} on the DVC remote '{self.name}' is of other inputs; remove {paths[0]}"
            )
        found = self.repo.stage_cache._create_stage(entry, wdir=stage.wdir)
        try:
            for objects in found.get_used_objs().values():
                self.repo.cloud.pull(objects)
            self._check_files(found)
        except CollectCacheError:
            raise self._damaged(name, folder) from None
        if not found.outs_cached():
            raise self._damaged(name, folder)
        return found

    def _damaged(self, name: str, folder: str) -> UserError:
        """Remove from the remote what is not what its name says, so that it is put there anew; returns what to say."""
        from dvc.utils.serialize import loads_yaml

        odb, files = self._remote(), self.repo.cloud.get_remote_odb(None, "neurop flow")
        for path in odb.fs.find(odb.fs.join(odb.path, "runs", *Path(folder).parts)):
            for out in loads_yaml(odb.fs.cat_file(path).decode())["outs"]:
                if not _sound(files, out["md5"]) or not out["md5"].endswith(".dir"):
                    continue
                directory = files.oid_to_path(out["md5"])
                listed = [each["md5"] for each in json.loads(files.fs.cat_file(directory))]
                sound = [_sound(files, oid) for oid in listed]
                if not all(sound):
                    files.fs.remove(directory)  # DVC takes a directory that is there for whole
            odb.fs.remove(path)
        where = f"on the DVC remote '{self.name}' ({self.url})"
        return UserError(f"the files of {name} were damaged {where}; they are removed there, and it must run again")

    def _check_files(self, stage: Any) -> None:
        """The names in directories that came from elsewhere, before they are written anywhere."""
        for out in stage.outs:
            tree = out.get_obj()
            if out.hash_info and tree is None:
                raise UserError(f"{out.def_path} is not on the DVC remote '{self.name}' ({self.url})")
            names = ["/".join(key) for key, *_ in tree] if out.hash_info and out.hash_info.isdir else []
            check_names(out.def_path, names)

    @property
    def _local(self) -> Path:
        return Path(self.repo.stage_cache.cache_dir)

    def _remote(self) -> Any:
        # Where DVC itself keeps the run-cache of a remote.
        return self.repo.cloud.get_remote_odb(None, "neurop flow", hash_name="md5-dos2unix")

    def _stage(self, name: str) -> Any:
        return self.repo.stage.load_one(name=name)

    def _saved(self, name: str) -> Any:
        """The stage, with the digests of its inputs as they are now."""
        stage = self._stage(name)
        stage.save_deps()
        return stage

    def _entries(self, stage: Any) -> str | None:
        """The folder of a stage's entries below a cache's `runs`."""
        from dvc.stage.cache import _can_hash, _get_stage_hash

        if not _can_hash(stage):
            return None
        key = _get_stage_hash(stage)
        return f"{key[:2]}/{key}"


def _sound(files: Any, oid: str) -> bool:
    """Whether an object of a remote is there and has the digest of its name; if not, it is removed."""
    path, found = files.oid_to_path(oid), hashlib.md5(usedforsecurity=False)
    if not files.fs.exists(path):
        return False
    with files.fs.open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    if found.hexdigest() == oid.removesuffix(".dir"):
        return True
    files.fs.remove(path)
    return False


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _line(error: BaseException) -> str:
    """The error in one line, with the first cause's: storages wrap theirs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def main(argv: list[str]) -> None:
    """Do one exchange; what it gives is the last line of standard output, as JSON."""
    verb, *rest = argv
    given: Any = None
    with Exchange.opened() as exchange:
        match verb:
            case "check":
                exchange.check()
            case "offer":
                given = exchange.offer(rest[0])
            case "accept":
                exchange.accept(json.loads(Path(rest[0]).read_text(encoding="utf-8")))
            case "give":
                exchange.give(rest[0])
            case "take":
                given = exchange.take(rest[0])
            case _:
                raise UserError(f"there is no exchange '{verb}'")
    print(json.dumps(given), file=sys.stdout)


if __name__ == "__main__":
    run_main(main)
