"""sumfirst: the sum of the first n of ten integers (Table 1). Held-out intents are longer: extrapolation."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.errors import UserError
from pipeline.params import Sumfirst as Settings
from pipeline.programs.base import Family, Intent, share, whole_numbers

# n and the places 1 … 10 live on one axis, so they share these units.
CENTRE, UNIT = 5.5, 1.5


class Sumfirst(Family):
    """y = L₁ + … + Lₙ; mean squared error; solved after rounding."""

    name = "sumfirst"
    related_axes = ("input",)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.vocabulary = None
        self.input_length, self.output_length = settings.length, 1

    def intents(self, split: str) -> tuple[Intent, ...]:
        s = self.settings
        ns = {"train": s.train_n, "test": s.train_n, "val": s.val_n, "ood": s.ood_n}[split]
        return tuple(Intent("n", n) for n in ns)

    def counts(self) -> dict[str, dict[Intent, int]]:
        s = self.settings
        totals = {"train": s.train, "test": s.test, "val": s.val, "ood": s.ood}
        return {
            split: dict(zip(us, share(totals[split], [1] * len(us)), strict=True))
            for split in totals
            for us in [self.intents(split)]
        }

    def space(self, intent: Intent) -> int:
        return (self.settings.high - self.settings.low + 1) ** self.settings.length

    def decode(self, intent: Intent, index: np.ndarray) -> np.ndarray:
        base = self.settings.high - self.settings.low + 1
        powers = base ** np.arange(self.settings.length, dtype=np.int64)
        return index[:, None] // powers % base + self.settings.low

    def rule(self, intent: Intent, x: np.ndarray) -> np.ndarray:
        return x[:, : intent.parameter].sum(1, keepdims=True)

    def code(self, intent: Intent) -> np.ndarray:
        return np.array([(intent.parameter - CENTRE) / UNIT], dtype=np.float32)

    def relation(self, axis: str, u: Tensor) -> Tensor:
        return (u[:, 0] * UNIT + CENTRE).round() - 1  # place n has index n − 1

    def parse(self, text: str) -> Intent:
        digits = text.removeprefix("n=")
        if not (digits.isdecimal() and 1 <= int(digits) <= self.settings.length):
            raise UserError(f"sumfirst has no intent '{text}'; give n from 1 to {self.settings.length}")
        return Intent("n", int(digits))

    def parse_input(self, intent: Intent, words: list[str]) -> np.ndarray:
        return whole_numbers(words, self.settings.length, f"{self.settings.length} integers")

    def template_input(self, x: Tensor, y: Tensor) -> Tensor:
        return x.float()

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        return (output - y).square().mean(-1)

    def answer(self, output: Tensor) -> Tensor:
        return output.round().long()
