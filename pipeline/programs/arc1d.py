"""arc1d: five families of the public 1D-ARC on rows of one length (§5.1). Parameter 7 is held out."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.params import Arc1d as Settings
from pipeline.programs.base import Intent, TokenFamily, share, whole_numbers

KINDS = ("fill", "flip", "hollow", "move_right", "recolor_bar")
PARAMETRIC = ("move_right", "recolor_bar")
COLOURS = 10  # 0 is the background
PARAMETER_UNIT = 3


class Arc1d(TokenFamily):
    """Row in, row out; cross-entropy over all cells; solved when every cell is right.

    One object a row: `fill` paints between two equal pixels, ends included; `hollow` is its inverse;
    `flip` reverses a block whose first pixel has another colour; `move_right(d)` shifts a block by d
    and never clips it; `recolor_bar(c)` paints the bar with colour c.
    """

    name = "arc1d"
    related_axes = ("token_in", "token_out", "position")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.vocabulary = COLOURS
        self.input_length = self.output_length = settings.length

    def intents(self, split: str) -> tuple[Intent, ...]:
        s = self.settings
        held_out = split in ("val", "ood")
        parameters = [p for p in sorted(s.parameters) if (p in s.held_out) == held_out]
        plain = [Intent(kind) for kind in KINDS if kind not in PARAMETRIC]
        return (*plain, *(Intent(kind, p) for kind in PARAMETRIC for p in parameters))

    def counts(self) -> dict[str, dict[Intent, int]]:
        """Train and test are shared evenly among intents, val and ood evenly among kinds (Table 4)."""
        s = self.settings
        counts = {}
        for split in ("train", "test"):
            us = self.intents(split)
            counts[split] = dict(zip(us, share(getattr(s, split), [1] * len(us)), strict=True))
        for split in ("val", "ood"):
            counts[split] = {}
            for kind, total in zip(KINDS, share(getattr(s, split), [1] * len(KINDS)), strict=True):
                us = tuple(u for u in self.intents(split) if u.kind == kind)
                counts[split].update(zip(us, share(total, [1] * len(us)), strict=True))
        return {split: counts[split] for split in ("train", "test", "val", "ood")}

    def _spans(self, intent: Intent) -> np.ndarray:
        """First and last cell [s, 2] of every place where the object may stand."""
        shortest = {"fill": 3, "hollow": 3, "flip": 2}.get(intent.kind, 1)
        room = self.settings.length - (intent.parameter if intent.kind == "move_right" else 0)
        first, last = np.triu_indices(room, shortest - 1)
        return np.stack([first, last], axis=1)

    def _colourings(self, intent: Intent) -> int:
        return 9 * 8 if intent.kind == "flip" else 9

    def space(self, intent: Intent) -> int:
        return len(self._spans(intent)) * self._colourings(intent)

    def decode(self, intent: Intent, index: np.ndarray) -> np.ndarray:
        span, colouring = np.divmod(index, self._colourings(intent))
        first, last = self._spans(intent)[span].T[:, :, None]
        cell = np.arange(self.settings.length)[None, :]
        inside = (first <= cell) & (cell <= last)
        if intent.kind == "flip":
            colour, other = colouring // 8 + 1, colouring % 8 + 1
            other = other + (other >= colour)
            return np.where(inside, np.where(cell == first, other[:, None], colour[:, None]), 0)
        if intent.kind == "fill":
            inside = (cell == first) | (cell == last)
        return np.where(inside, colouring[:, None] + 1, 0)

    def rule(self, intent: Intent, x: np.ndarray) -> np.ndarray:
        cell = np.arange(x.shape[1])[None, :]
        painted = x != 0
        first, last = (ends[:, None] for ends in _ends(painted))
        inside = (first <= cell) & (cell <= last)
        if intent.kind == "fill":
            return np.where(inside, np.take_along_axis(x, first, 1), 0)
        if intent.kind == "hollow":
            return np.where((cell == first) | (cell == last), x, 0)
        if intent.kind == "flip":
            return np.where(inside, np.take_along_axis(x, np.where(inside, first + last - cell, 0), 1), 0)
        if intent.kind == "move_right":
            return np.where(cell >= intent.parameter, np.roll(x, intent.parameter, 1), 0)
        return np.where(painted, intent.parameter, 0)

    def extents(self, x: np.ndarray) -> np.ndarray:
        first, last = _ends(x != 0)
        return last - first + 1

    def code(self, intent: Intent) -> np.ndarray:
        one_hot = [float(intent.kind == kind) for kind in KINDS]
        return np.array([*one_hot, intent.parameter / PARAMETER_UNIT], dtype=np.float32)

    def relation(self, axis: str, u: Tensor) -> Tensor:
        kind = "move_right" if axis == "position" else "recolor_bar"
        parameter = (u[:, -1] * PARAMETER_UNIT).round()
        return torch.where(u[:, KINDS.index(kind)] > 0, parameter, torch.nan)

    def parse(self, text: str) -> Intent:
        match = re.fullmatch(r"(\w+?)(?:\((\d+)\)|:(\d+))?", text)
        kind, digits = (match[1], match[2] or match[3]) if match else (text, None)
        if kind in PARAMETRIC and digits and int(digits) in self.settings.parameters:
            return Intent(kind, int(digits))
        if kind in KINDS and kind not in PARAMETRIC and digits is None:
            return Intent(kind)
        raise UserError(
            f"arc1d has no intent '{text}'; give fill, flip, hollow, move_right:D or recolor_bar:C "
            f"with a parameter of {', '.join(map(str, self.settings.parameters))}"
        )

    def parse_input(self, intent: Intent, words: list[str]) -> np.ndarray:
        length = self.settings.length
        cells = list(words[0]) if len(words) == 1 else words
        row = whole_numbers(cells, length, f"a row of {length} digits")
        if row.min() < 0 or row.max() >= COLOURS:
            raise UserError("colours are 0 to 9")
        return row

    def template_input(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y[..., :-1]], -1)


def _ends(painted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last painted cell [n] of rows [n, l] that have one."""
    return painted.argmax(1), painted.shape[1] - 1 - painted[:, ::-1].argmax(1)
