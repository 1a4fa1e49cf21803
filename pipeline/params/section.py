"""What sections of `params.yaml` are made of: checked values, frozen classes, seeds and packs of them."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator

from pipeline.packs import Pack

FAMILIES = ("sumfirst", "addmod", "arc1d")
LEARNERS = ("direct_mlp", "direct_transformer", "meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn")
Family = Literal["sumfirst", "addmod", "arc1d"]
Learner = Literal["direct_mlp", "direct_transformer", "meta_mlp", "meta_gmlp", "meta_gmlp_mx", "meta_gnn"]

# Examples are stored as 16-bit integers.
LARGEST = 2**15 - 1

# Strict: `true` is no number.
Positive = Annotated[int, Field(gt=0, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Widths = Annotated[tuple[Positive, ...], Field(min_length=1)]


class Section(BaseModel):
    """A part of `params.yaml`: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = sorted(value for value, count in Counter(values).items() if count > 1)
    if repeated:
        raise ValueError(f"holds {', '.join(map(str, repeated))} more than once")
    return values


def _seed_or_pack(value: Any) -> int | str:
    """An item of `seeds`, as written. Raises `ValueError` if it names no seeds."""
    if isinstance(value, str) and "-" in value:
        Pack.parse(value)
        return value
    if type(value) is not int or value < 0:
        raise ValueError("is no seed (a whole number such as 3) and no pack of seeds (such as 0-9)")
    return value


class Seeded(Section):
    """`seeds`: what is trained for each row of a table. An item is one seed (3), which has a process of its own, or
    a pack of seeds ("0-9"), which one process trains at once as one batched program: made for a GPU; on a CPU it
    pays for tiny learners. A seed gives the same curves either way, but for rounding. Adding an item trains that item.
    """

    seeds: Annotated[tuple[Annotated[int | str, PlainValidator(_seed_or_pack)], ...], Field(min_length=1)]

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, items: tuple[int | str, ...]) -> tuple[int | str, ...]:
        distinct(tuple(seed for item in items for seed in Pack.parse(str(item)).seeds))
        return items

    @property
    def packs(self) -> tuple[Pack, ...]:
        """The items, a single seed as a pack of one."""
        return tuple(Pack.parse(str(item)) for item in self.seeds)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Every seed, whether alone or in a pack."""
        return tuple(seed for pack in self.packs for seed in pack.seeds)


class Grid(Seeded):
    """The runs that exist: every family with every learner and every seed."""

    families: Annotated[tuple[Family, ...], Field(min_length=1)]
    learners: Annotated[tuple[Learner, ...], Field(min_length=1)]

    _distinct = field_validator("families", "learners")(distinct)
