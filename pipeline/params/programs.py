"""Settings of the program families and of the templates that run them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.params.section import LARGEST, Count, Positive, Section, Widths, distinct


class Sumfirst(Section):
    """Sum of the first n of `length` integers, uniform on low … high."""

    seed: Count
    length: Positive
    low: int
    high: int
    train_n: Annotated[tuple[Positive, ...], Field(min_length=1)]
    val_n: Annotated[tuple[Positive, ...], Field(min_length=1)]
    ood_n: Annotated[tuple[Positive, ...], Field(min_length=1)]
    train: Positive
    test: Positive
    val: Positive
    ood: Positive

    @model_validator(mode="after")
    def _possible(self) -> Sumfirst:
        ns = distinct((*self.train_n, *self.val_n, *self.ood_n))
        if max(ns) > self.length:
            raise ValueError(f"n = {max(ns)} is longer than the list (length {self.length})")
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.length * max(-self.low, self.high) > LARGEST:
            raise ValueError(f"sums beyond ±{LARGEST} do not fit the files; take a narrower low … high")
        if (self.high - self.low + 1) ** self.length >= 2**63:
            raise ValueError("there are too many lists to number; lower length or take a narrower low … high")
        return self


class Addmod(Section):
    """(a + b) mod p for primes p; `val_primes` are held out only under `split: strict`."""

    seed: Count
    split: Literal["paper", "strict"]
    primes: Annotated[tuple[Annotated[int, Field(gt=0, le=LARGEST)], ...], Field(min_length=2)]
    ood_primes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    val_primes: Annotated[tuple[Positive, ...], Field(min_length=1)]
    test: Positive
    val: Positive

    @model_validator(mode="after")
    def _possible(self) -> Addmod:
        primes = distinct(self.primes)
        composite = [p for p in primes if p < 2 or any(p % d == 0 for d in range(2, int(p**0.5) + 1))]
        if composite:
            raise ValueError(f"primes holds {composite[0]}, which is not a prime")
        for name in ("ood_primes", "val_primes"):
            stray = set(distinct(getattr(self, name))) - set(primes)
            if stray:
                raise ValueError(f"{name} holds {min(stray)}, which is not one of primes")
        both = set(self.val_primes) & set(self.ood_primes)
        if both:
            raise ValueError(f"{min(both)} is in val_primes and in ood_primes; strict needs them disjoint")
        held_out = set(self.ood_primes) | (set(self.val_primes) if self.split == "strict" else set())
        if held_out == set(primes):
            raise ValueError("every prime is held out; leave at least one for training")
        return self


class Arc1d(Section):
    """Rows of `length` colours 0 … 9; `held_out` parameters are never trained."""

    seed: Count
    length: Annotated[int, Field(ge=4)]
    parameters: Annotated[tuple[Annotated[int, Field(ge=1, le=9)], ...], Field(min_length=2)]
    held_out: Annotated[tuple[Annotated[int, Field(ge=1, le=9)], ...], Field(min_length=1)]
    train: Positive
    test: Positive
    val: Positive
    ood: Positive

    @model_validator(mode="after")
    def _possible(self) -> Arc1d:
        parameters, held_out = distinct(self.parameters), distinct(self.held_out)
        stray = set(held_out) - set(parameters)
        if stray:
            raise ValueError(f"held_out holds {min(stray)}, which is not one of parameters")
        if set(held_out) == set(parameters):
            raise ValueError("every parameter is held out; leave at least one for training")
        if max(parameters) >= self.length:
            raise ValueError(f"a move by {max(parameters)} does not fit rows of length {self.length}")
        return self


class Programs(Section):
    """One section per program family."""

    sumfirst: Sumfirst
    addmod: Addmod
    arc1d: Arc1d


class MlpTemplate(Section):
    """A ReLU MLP; the ends are the family's."""

    hidden: Widths


class TransformerTemplate(Section):
    """A one-layer causal Transformer; vocabulary and context are the family's."""

    d_model: Positive
    n_heads: Positive
    d_mlp: Positive

    @model_validator(mode="after")
    def _heads_fit(self) -> TransformerTemplate:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model = {self.d_model} is not a multiple of n_heads = {self.n_heads}")
        return self


class Templates(Section):
    """One section per program family."""

    sumfirst: MlpTemplate
    addmod: TransformerTemplate
    arc1d: TransformerTemplate
