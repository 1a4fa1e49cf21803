"""What a bundle says of itself: whose runs it holds, what made them, and every file's size and digest."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.training.checkpoint import FILE as CHECKPOINT
from pipeline.training.run import FILES

NAME = "manifest.json"
FORMAT = 1

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Outputs of a run take a few MiB.
Size = Annotated[int, Field(ge=0, le=2**30)]


class Part(BaseModel):
    """A part of the manifest: frozen, of exactly these types, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class File(Part):
    """A file's size in bytes, and its SHA-256."""

    size: Size
    sha256: Digest

    @staticmethod
    def of(content: bytes) -> File:
        """What describes this content."""
        return File(size=len(content), sha256=hashlib.sha256(content).hexdigest())


class Log(Part):
    """What a run ran on, and how long it took over all its slices (`logs/`): seconds, steps, peak memory in MiB."""

    device: str
    device_type: str
    threads: int
    torch: str
    python: str
    peak_memory_mib: int
    seconds: float
    steps: int
    resumed: int
    seeds: int = 1


class Entry(Part):
    """Files of one run, or the checkpoint of what trains together: study and name of its recipe, seed or pack."""

    study: str
    name: str
    item: str
    configuration: dict[str, Any]
    files: dict[str, File]

    @property
    @abstractmethod
    def place(self) -> str:
        """The folder of its files in the archive."""

    @property
    @abstractmethod
    def expected(self) -> tuple[str, ...]:
        """The files that it must have."""

    @property
    def members(self) -> dict[str, File]:
        """Its files by their names in the archive."""
        return {f"{self.place}/{name}": file for name, file in self.files.items()}


class Finished(Entry):
    """A finished run: one seed, alone or of a pack."""

    seed: int
    log: Log | None

    @property
    def place(self) -> str:
        return f"runs/{self.study}/{self.name}/{self.item}/{self.seed}"

    @property
    def expected(self) -> tuple[str, ...]:
        return FILES


class HalfWay(Entry):
    """A checkpoint; `bits`: of the machine that can go on from it (`machine.bits`)."""

    bits: list[str | int]

    @property
    def place(self) -> str:
        return f"checkpoints/{self.study}/{self.name}/{self.item}"

    @property
    def expected(self) -> tuple[str, ...]:
        return (CHECKPOINT,)


class Manifest(Part):
    """`code`: digest of the code that trained. `commit`: that of Git, if Git was there."""

    format: int
    code: str
    commit: str | None
    runs: list[Finished]
    checkpoints: list[HalfWay]

    @property
    def entries(self) -> list[Finished | HalfWay]:
        """All that has files."""
        return [*self.runs, *self.checkpoints]
