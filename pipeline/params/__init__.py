"""`params.yaml` as typed, checked, frozen values. Every setting that can change a result is here."""

from pipeline.params.learners import (
    DirectMlp,
    DirectTransformer,
    GroupTied,
    HiddenSection,
    LearnerSection,
    MetaGmlp,
    MetaGmlpMx,
    MetaGnn,
    MetaMlp,
    MetaSection,
    Scale,
)
from pipeline.params.programs import Addmod, Arc1d, Programs, Sumfirst
from pipeline.params.reading import checked, load, read_yaml
from pipeline.params.section import FAMILIES, LEARNERS, Section
from pipeline.params.training import TrainingSection
from pipeline.params.whole import Params, completed, learner_section

__all__ = [
    "FAMILIES",
    "LEARNERS",
    "Addmod",
    "Arc1d",
    "DirectMlp",
    "DirectTransformer",
    "GroupTied",
    "HiddenSection",
    "LearnerSection",
    "MetaGmlp",
    "MetaGmlpMx",
    "MetaGnn",
    "MetaMlp",
    "MetaSection",
    "Params",
    "Programs",
    "Scale",
    "Section",
    "Sumfirst",
    "TrainingSection",
    "checked",
    "completed",
    "learner_section",
    "load",
    "read_yaml",
]
