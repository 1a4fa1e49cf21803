"""How families and learners are called and drawn; one that is not listed here still gets a name and a mark."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline import params


@dataclass(frozen=True)
class FamilyName:
    """The paper's name of a program family, and the number of the paper's figure of its seeds."""

    label: str
    figure: str = ""


@dataclass(frozen=True)
class LearnerName:
    """A learner's label, the label on two short lines, and its colour and marker."""

    label: str
    short: str
    colour: str
    marker: str


FAMILIES = {
    "sumfirst": FamilyName("SumFirst-n", "10"),
    "addmod": FamilyName("AddMod-p", "8"),
    "arc1d": FamilyName("1D-ARC", "11"),
}
# Okabe and Ito's colours, which colour-blind people tell apart; the marker says the same again.
LEARNERS = {
    "direct_mlp": LearnerName("direct MLP", "direct\nMLP", "#7a7a7a", "s"),
    "direct_transformer": LearnerName("direct Transformer", "direct\nTransf.", "#e69f00", "D"),
    "meta_mlp": LearnerName("Meta-MLP", "Meta-\nMLP", "#0072b2", "o"),
    "meta_gmlp": LearnerName("Meta-gMLP", "Meta-\ngMLP", "#009e73", "^"),
    "meta_gmlp_mx": LearnerName("Meta-gMLP-MX", "Meta-\ngMLP-MX", "#cc79a7", "v"),
    "meta_gnn": LearnerName("Meta-GNN", "Meta-\nGNN", "#d55e00", "P"),
}
OTHER_COLOURS = ("#56b4e9", "#9467bd", "#8c564b")
OTHER_MARKERS = ("X", "p", "h", "<", ">")


def family(name: str) -> FamilyName:
    """The family's name; one that is not listed is called by its identifier."""
    return FAMILIES.get(name, FamilyName(name))


def learner(name: str) -> LearnerName:
    """The learner's name and mark; one that is not listed gets them from its identifier."""
    if name in LEARNERS:
        return LEARNERS[name]
    # Not hash(): it differs from process to process.
    number = zlib.crc32(name.encode())
    words = name.replace("_", " ")
    return LearnerName(
        words,
        words.replace(" ", "\n", 1),
        OTHER_COLOURS[number % len(OTHER_COLOURS)],
        OTHER_MARKERS[number % len(OTHER_MARKERS)],
    )


def ordered_learners(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: in the order of the paper's tables, then in that of the settings, then by alphabet."""
    known = dict.fromkeys((*LEARNERS, *params.LEARNERS))
    wanted = set(names)
    return (*(name for name in known if name in wanted), *sorted(wanted - set(known)))
