"""One thin program per DVC stage."""

from __future__ import annotations

from pipeline.errors import UserError
from pipeline.params import FAMILIES, LEARNERS

KNOWN = {"FAMILY": FAMILIES, "LEARNER": LEARNERS}


def arguments(argv: list[str], stage: str, *names: str) -> list[str]:
    """The stage's arguments. Raises `UserError` if their number or a name is wrong: paths are made of them."""
    usage = f"run `python -m stages.{stage} {' '.join(names)}`"
    if len(argv) != len(names):
        raise UserError(f"stages.{stage} takes {len(names)} arguments, not {len(argv)}; {usage}")
    for name, value in zip(names, argv, strict=True):
        known = KNOWN.get(name)
        if known and value not in known:
            raise UserError(f"there is no {name.lower()} '{value}'; there are {', '.join(known)}")
    return argv
