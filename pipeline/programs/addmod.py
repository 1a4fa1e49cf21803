"""addmod: (a + b) mod p for primes p (Table 1). Held-out intents are other primes."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.errors import UserError
from pipeline.params import Addmod as Settings
from pipeline.programs.base import Intent, TokenFamily, share, whole_numbers

# p and the tokens 0 … p − 1 live on one axis, so they share this unit.
UNIT = 100


class Addmod(TokenFamily):
    """All p² pairs of each prime; cross-entropy; solved when the most likely token is right.

    Under `split: paper`, val and ood pairs come from the same held-out primes (Table 4's numbers
    allow nothing else). Under `split: strict`, `val_primes` leave the training set and are the only
    primes of val, so that choosing by val never sees an ood prime.
    """

    name = "addmod"
    related_axes = ("token_in", "token_out")
    intents_are_sizes = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.vocabulary = max(settings.primes)
        self.input_length, self.output_length = 2, 1

    def intents(self, split: str) -> tuple[Intent, ...]:
        s = self.settings
        strict = s.split == "strict"
        held_out = set(s.ood_primes) | (set(s.val_primes) if strict else set())
        train = [p for p in s.primes if p not in held_out]
        val = s.val_primes if strict else s.ood_primes
        primes = {"train": train, "test": train, "val": val, "ood": s.ood_primes}[split]
        return tuple(Intent("p", p) for p in sorted(primes))

    def counts(self) -> dict[str, dict[Intent, int]]:
        test = self._share("test", self.settings.test)
        if self.settings.split == "paper":
            val = self._share("val", self.settings.val)
        else:
            val = {u: u.parameter**2 for u in self.intents("val")}
        return {
            "train": {u: u.parameter**2 - n for u, n in test.items()},
            "test": test,
            "val": val,
            "ood": {u: u.parameter**2 - val.get(u, 0) for u in self.intents("ood")},
        }

    def _share(self, split: str, total: int) -> dict[Intent, int]:
        """`total` pairs shared among the split's primes in proportion to p²."""
        intents = self.intents(split)
        pairs = [u.parameter**2 for u in intents]
        if total >= sum(pairs):
            raise UserError(f"programs.addmod.{split}: {total} leaves nothing of {sum(pairs)} pairs; lower it")
        return dict(zip(intents, share(total, pairs), strict=True))

    def space(self, intent: Intent) -> int:
        return intent.parameter**2

    def decode(self, intent: Intent, index: np.ndarray) -> np.ndarray:
        return np.stack([index // intent.parameter, index % intent.parameter], axis=1)

    def rule(self, intent: Intent, x: np.ndarray) -> np.ndarray:
        return x.sum(1, keepdims=True) % intent.parameter

    def code(self, intent: Intent) -> np.ndarray:
        return np.array([intent.parameter / UNIT], dtype=np.float32)

    def relation(self, axis: str, u: Tensor) -> Tensor:
        return (u[:, 0] * UNIT).round()

    def parse(self, text: str) -> Intent:
        digits = text.removeprefix("p=")
        if not (digits.isdecimal() and int(digits) in self.settings.primes):
            raise UserError(
                f"addmod has no intent '{text}'; give a prime of programs.addmod.primes, "
                f"{min(self.settings.primes)} to {max(self.settings.primes)}"
            )
        return Intent("p", int(digits))

    def parse_input(self, intent: Intent, words: list[str]) -> np.ndarray:
        x = whole_numbers(words, 2, "two integers a b")
        if x.min() < 0 or x.max() >= intent.parameter:
            raise UserError(f"a and b must be 0 to {intent.parameter - 1}, got '{' '.join(words)}'")
        return x

    def template_input(self, x: Tensor, y: Tensor) -> Tensor:
        return x
