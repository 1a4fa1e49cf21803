"""Program families: intents, rules, examples, splits, loss, solved."""

from typing import Any

from pipeline.params import Params, Programs
from pipeline.programs.addmod import Addmod
from pipeline.programs.arc1d import Arc1d
from pipeline.programs.base import SPLITS, Examples, Family, Intent
from pipeline.programs.sumfirst import Sumfirst

CLASSES: dict[str, type] = {"sumfirst": Sumfirst, "addmod": Addmod, "arc1d": Arc1d}


def make_family(params: Params, name: str) -> Family:
    """The program family `name` with its settings."""
    family: Family = CLASSES[name](getattr(params.programs, name))
    return family


def family_from(name: str, settings: dict[str, Any]) -> Family:
    """The family from settings that travel with an artefact. Raises `ValueError` or `KeyError` if they do not fit."""
    section = Programs.model_fields[name].annotation
    assert section is not None
    family: Family = CLASSES[name](section.model_validate(settings))
    return family


__all__ = ["SPLITS", "Addmod", "Arc1d", "Examples", "Family", "Intent", "Sumfirst", "family_from", "make_family"]
