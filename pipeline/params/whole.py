"""The whole of `params.yaml`, and settings that travel with a run."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError, model_validator

from pipeline.params.learners import Learners, LearnerSection, LearnerSections
from pipeline.params.programs import Programs, Templates
from pipeline.params.section import Grid, Section
from pipeline.params.training import Ablations, Evaluation, Training, TrainingSection


class Params(Section):
    """The whole of `params.yaml`."""

    grid: Grid
    programs: Programs
    templates: Templates
    learners: Learners
    training: Training
    ablations: Ablations
    evaluation: Evaluation

    @model_validator(mode="after")
    def _examples_are_made(self) -> Params:
        stray = [family for family in self.ablations.families if family not in self.grid.families]
        if stray:
            raise ValueError(f"ablations.families holds {stray[0]}, which grid.families leaves out; do so there, too")
        return self

    def learner(self, family: str, learner: str) -> Any:
        """The section `learners.<family>.<learner>`."""
        return getattr(getattr(self.learners, family), learner)


def learner_section(learner: str, settings: dict[str, Any]) -> LearnerSection:
    """A learner's section from settings that travel with an artefact. Raises `KeyError` or `ValueError`."""
    kind: Any = LearnerSections.model_fields[learner].annotation
    section: LearnerSection = kind.model_validate(settings)
    return section


def completed(learner: str, settings: dict[str, Any], training: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Settings and protocol of an earlier run, with the defaults of those settings that are younger than it, as JSON.

    A part that holds a setting that there is no more is left as it is.
    """
    kinds: tuple[Any, ...] = (LearnerSections.model_fields[learner].annotation, TrainingSection)
    return tuple(_completed(kind, values) for kind, values in zip(kinds, (settings, training), strict=True))


def _completed(kind: type[Section], values: dict[str, Any]) -> dict[str, Any]:
    try:
        return kind.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values
