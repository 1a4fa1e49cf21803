"""Settings of training, of the ablations and of the statistics over seeds."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.params.learners import Aggregation, InitMode, MetaGnn, RevEdgeMode
from pipeline.params.section import Count, Family, Positive, Section, Seeded, distinct


class TrainingSection(Section):
    """The training protocol of one family: Adam, `batch` examples a step shared by the step's intents.

    `select_from`: share of the steps before which no weights are kept as best. Where val stays near
    chance, an untrained network may beat the trained one on it by luck.
    `precision`: of the products in a step: float32, tf32 (CUDA alone knows it) or bfloat16; parameters, their
    updates and evaluations are float32 under each.
    """

    steps: Positive
    batch: Positive
    meta_batch: Positive | None
    select_from: Annotated[float, Field(ge=0, le=1)]
    schedule: Literal["constant", "cosine"]
    warmup: Count
    eval_every: Positive
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"


class Training(Section):
    """One section per program family."""

    sumfirst: TrainingSection
    addmod: TrainingSection
    arc1d: TrainingSection


class Variant(Section):
    """What one ablated meta_gnn has otherwise than `ablations.settings`; null: as there."""

    init_mode: InitMode | None = None
    aggregation: Aggregation | None = None
    use_norm: bool | None = None
    bidirectional: bool | None = None
    rev_edge_mode: RevEdgeMode | None = None


# Variants are directories, and DVC joins their names to seeds by a hyphen.
VARIANT_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Ablations(Seeded):
    """Table 5 (App. C.3): a small meta_gnn in variants that differ in one or two settings.

    `families`: those of the grid on which it is made (the paper: addmod), or none; `rows`: the variants
    that are trained, in the order of the table; `limit`: a variant with more trainable parameters is
    refused (the paper: fewer than 50,000); `training`: the protocol of all.
    """

    families: tuple[Family, ...]
    rows: Annotated[tuple[str, ...], Field(min_length=1)]
    limit: Positive
    training: TrainingSection
    settings: MetaGnn
    variants: Annotated[dict[str, Variant], Field(min_length=1)]

    _distinct = field_validator("families", "rows")(distinct)

    @field_validator("variants")
    @classmethod
    def _named(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        for name in variants:
            if not VARIANT_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a variant; take small letters, digits and _")
        return variants

    @model_validator(mode="after")
    def _there(self) -> Ablations:
        stray = [name for name in self.rows if name not in self.variants]
        if stray:
            raise ValueError(f"rows holds {stray[0]}, which is not one of variants")
        return self

    def variant(self, name: str) -> MetaGnn:
        """The whole settings of a variant. Raises `KeyError` if there is none of that name."""
        return self.settings.model_copy(update=self.variants[name].model_dump(exclude_none=True))


class Evaluation(Section):
    """Statistics over seeds."""

    bootstrap: Positive
    confidence: Annotated[float, Field(gt=0, lt=1)]
