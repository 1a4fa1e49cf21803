"""Seeds that one process trains: `3` is one seed, `0-9` a pack of ten."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Far more than fit any device; a slip of the keyboard must not fill the memory with numbers.
MOST_SEEDS = 1000
WRITTEN = re.compile(r"(0|[1-9][0-9]{0,17})(?:-(0|[1-9][0-9]{0,17}))?")


@dataclass(frozen=True)
class Pack:
    """Consecutive whole numbers, or one: the seeds that one process trains as one batched program."""

    seeds: tuple[int, ...]

    def __str__(self) -> str:
        first, last = self.seeds[0], self.seeds[-1]
        return str(first) if first == last else f"{first}-{last}"

    @staticmethod
    def parse(text: str) -> Pack:
        """Read `3` or `0-9`. Raises `ValueError` for anything else, and for seeds that do not ascend."""
        found = WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError("is no seed (a whole number such as 3) and no pack of seeds (such as 0-9)")
        first, last = int(found[1]), int(found[2] or found[1])
        if found[2] and first >= last:
            raise ValueError("is no pack of seeds; its first seed must be below its last, as in 0-9")
        if last - first >= MOST_SEEDS:
            raise ValueError(f"is a pack of more than {MOST_SEEDS} seeds; take several smaller ones")
        return Pack(tuple(range(first, last + 1)))
