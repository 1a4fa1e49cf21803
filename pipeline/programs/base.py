"""What a program family is: intents, a rule, an enumerable input space, splits, a loss."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import UserError

SPLITS = ("train", "test", "val", "ood")


@dataclass(frozen=True)
class Intent:
    """Picks one function of a family: `n=9`, `p=83`, `move_right(7)`, `fill`."""

    kind: str
    parameter: int = 0

    def __str__(self) -> str:
        if self.kind in ("n", "p"):
            return f"{self.kind}={self.parameter}"
        return f"{self.kind}({self.parameter})" if self.parameter else self.kind


@dataclass(frozen=True)
class Examples:
    """Examples of one split, sorted by intent: `intent` [N] indexes `intents`; x [N, l]; y [N, m]."""

    intents: tuple[Intent, ...]
    intent: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Family(ABC):
    """A parameterised set of functions (§3). Everything random takes its own generator.

    The inputs of an intent are enumerable, so that examples are drawn without repetition and the
    splits of one intent are disjoint by construction.
    """

    name: ClassVar[str]
    vocabulary: int | None
    """Number of tokens, or None where inputs and outputs are numbers."""
    input_length: int
    output_length: int
    settings: Any
    related_axes: ClassVar[tuple[str, ...]] = ()
    """Axes of the template into which an intent points (see `relation`)."""
    intents_are_sizes: ClassVar[bool] = False
    """Whether the intent code is one positive number whose ratios mean something, in the unit of `related_axes`."""

    @abstractmethod
    def intents(self, split: str) -> tuple[Intent, ...]:
        """The intents of one split, in order."""

    @abstractmethod
    def counts(self) -> dict[str, dict[Intent, int]]:
        """How many examples each split holds of each intent."""

    @abstractmethod
    def space(self, intent: Intent) -> int:
        """How many distinct inputs the intent has."""

    @abstractmethod
    def decode(self, intent: Intent, index: np.ndarray) -> np.ndarray:
        """Inputs [n, l] (int64) with these numbers [n] in 0 … space − 1."""

    @abstractmethod
    def rule(self, intent: Intent, x: np.ndarray) -> np.ndarray:
        """The right answers [n, m] (int64) to inputs [n, l]."""

    @abstractmethod
    def code(self, intent: Intent) -> np.ndarray:
        """The intent code U [d_u] (float32)."""

    def relation(self, axis: str, u: Tensor) -> Tensor:
        """The index [K] on a related axis that each intent code u [K, d_u] names; NaN where it names none."""
        raise NotImplementedError(f"{self.name} relates no intent to an axis {axis}")

    def extents(self, x: np.ndarray) -> np.ndarray | None:
        """How many places the object in each input [n, l] spans [n], at least 1; None where inputs hold no object."""
        return None

    @abstractmethod
    def parse(self, text: str) -> Intent:
        """The intent that a person wrote. Raises `UserError` if it is not one of the family."""

    @abstractmethod
    def parse_input(self, intent: Intent, words: list[str]) -> np.ndarray:
        """An input [l] from command-line words. Raises `UserError` if it is not one."""

    @abstractmethod
    def template_input(self, x: Tensor, y: Tensor) -> Tensor:
        """What the template reads, from x [K, n, l] and (teacher forcing) y [K, n, m]."""

    @abstractmethod
    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Loss of each example [K, n] from outputs [K, n, m] or logits [K, n, m, v]."""

    @abstractmethod
    def answer(self, output: Tensor) -> Tensor:
        """Answers [K, n, m] (int64) from outputs [K, n, m] or logits [K, n, m, v]."""

    def solved(self, output: Tensor, y: Tensor) -> Tensor:
        """Whether each example [K, n] is exactly right."""
        return (self.answer(output) == y).all(-1)

    def all_intents(self) -> tuple[Intent, ...]:
        """Every intent of every split, each once, in the order of the splits."""
        return tuple(dict.fromkeys(u for split in SPLITS for u in self.intents(split)))

    def codes(self, intents: tuple[Intent, ...]) -> np.ndarray:
        """Intent codes [K, d_u] (float32)."""
        return np.stack([self.code(u) for u in intents]).astype(np.float32)

    def sample(self, rng: np.random.Generator, intent: Intent, n: int) -> np.ndarray:
        """n distinct inputs [n, l] of the intent. Raises `UserError` if it has fewer."""
        space = self.space(intent)
        if n > space:
            raise UserError(
                f"programs.{self.name}: {n} distinct examples of {intent} are asked for, "
                f"but only {space} exist; lower train, test, val or ood"
            )
        return self.decode(intent, rng.choice(space, n, replace=False))

    def generate(self) -> dict[str, Examples]:
        """All splits. A pure function of the settings: the same on every machine."""
        counts = self.counts()
        drawn: dict[str, list[tuple[int, np.ndarray]]] = {split: [] for split in SPLITS}
        for intent in self.all_intents():
            shares = {split: counts[split].get(intent, 0) for split in SPLITS}
            x = self.sample(self._rng(intent), intent, sum(shares.values()))
            pieces = np.split(x, np.cumsum(list(shares.values()))[:-1])
            for split, piece in zip(SPLITS, pieces, strict=True):
                if len(piece):
                    order = np.lexsort(piece.T[::-1])
                    drawn[split].append((self.intents(split).index(intent), piece[order]))
        return {split: self._examples(split, pieces) for split, pieces in drawn.items()}

    def _rng(self, intent: Intent) -> np.random.Generator:
        """One generator per intent, so that adding an intent leaves the others' examples as they are."""
        key = zlib.crc32(f"{self.name} {intent}".encode())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.settings.seed, key])))

    def _examples(self, split: str, pieces: list[tuple[int, np.ndarray]]) -> Examples:
        intents, pieces = self.intents(split), sorted(pieces, key=lambda piece: piece[0])
        intent = np.concatenate([np.full(len(x), k) for k, x in pieces])
        y = np.concatenate([self.rule(intents[k], x) for k, x in pieces])
        return Examples(intents, intent, np.concatenate([x for _, x in pieces]), y)


class TokenFamily(Family):
    """A family of tokens in and out: cross-entropy, and the most likely token at each place."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(output.flatten(0, 2), y.flatten(), reduction="none").view_as(y).mean(-1)

    def answer(self, output: Tensor) -> Tensor:
        return output.argmax(-1)


def share(total: int, weights: list[int]) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to `weights` (largest remainders, first wins)."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(value) for value in exact]
    order = sorted(range(len(weights)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: total - sum(parts)]:
        parts[i] += 1
    return parts


def whole_numbers(words: list[str], count: int, what: str) -> np.ndarray:
    """`count` integers from command-line words. Raises `UserError` saying `what` was expected."""
    try:
        values = np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        values = np.array([], dtype=np.int64)
    if len(values) != count:
        raise UserError(f"expected {what}, got '{' '.join(words)}'")
    return values
