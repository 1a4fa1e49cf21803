"""`params.yaml` as typed, checked, frozen values. Every setting that can change a result is here."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import UserError
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


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
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
        _distinct(tuple(seed for item in items for seed in Pack.parse(str(item)).seeds))
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

    _distinct = field_validator("families", "learners")(_distinct)


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
        ns = _distinct((*self.train_n, *self.val_n, *self.ood_n))
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
        primes = _distinct(self.primes)
        composite = [p for p in primes if p < 2 or any(p % d == 0 for d in range(2, int(p**0.5) + 1))]
        if composite:
            raise ValueError(f"primes holds {composite[0]}, which is not a prime")
        for name in ("ood_primes", "val_primes"):
            stray = set(_distinct(getattr(self, name))) - set(primes)
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
        parameters, held_out = _distinct(self.parameters), _distinct(self.held_out)
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


Activation = Literal["relu", "silu", "gelu", "softplus", "tanh"]


class LearnerSection(Section):
    """What all learners share.

    `budget`: trainable parameters to match by scaling the widths, or null to take them as written;
    `activation`: between the layers of the learner (templates use ReLU); `learning_rate`: Adam's, at
    its peak; `weight_decay`: decoupled from the gradient; `steps`: no more than these training
    steps, where fewer than the family's suffice; `gradient_clip`: a step's gradient is shortened to this
    norm where it is longer (null: never), a guard against divergence at high learning rates.
    """

    budget: Positive | None
    activation: Activation
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
    steps: Positive | None = None
    gradient_clip: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] | None = None


class HiddenSection(LearnerSection):
    """A learner with hidden layers of these widths."""

    hidden: Widths


class MetaSection(LearnerSection):
    """What all meta-learners share. `spread`: of the decoded initial θ, as a share of the usual initialisation's."""

    spread: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class DirectMlp(HiddenSection):
    """(intent, x) → y by an MLP."""


class DirectTransformer(LearnerSection):
    """(intent, x) → y by a Transformer encoder; the intent is one more token."""

    d_model: Positive
    n_layers: Positive
    n_heads: Positive


class MetaMlp(MetaSection, HiddenSection):
    """θ = f_MLP(U), a flat vector (§4.3)."""


class GroupTied(MetaSection):
    """What the group-tied learners share.

    `fourier`: sine/cosine pairs in the code of an axis without order (neurons, heads);
    `fourier_ordered`: of an axis with order (list places, tokens, positions), beside its coordinate;
    `theta0`: decoded weights are added to a fixed random initialisation of full rank.

    Beyond the paper, off by default: `bandwidth`: along an axis with order, θ₀ and learned codes hold so many of the
    slowest cosine waves only (null: all of them, white noise), so that what is neighbouring starts out similar;
    `relations`: codes that relate a slot to the intent, where the intent
    points into an axis of the slot's tensor (p among the tokens, n among the places); `fourier_relation`:
    sine/cosine pairs in each; `coordinate`: false leaves such an axis no other code, and its tensors no θ₀, so
    that the learner can write a template with more places on that axis.
    """

    fourier: Count
    fourier_ordered: Count
    theta0: bool
    bandwidth: Positive | None = None
    relations: tuple[Literal["difference", "ratio", "equality"], ...] = ()
    fourier_relation: Count = 0
    coordinate: bool = True

    _distinct = field_validator("relations")(_distinct)

    @model_validator(mode="after")
    def _has_codes(self) -> GroupTied:
        if not self.coordinate and not self.relations:
            raise ValueError("coordinate: false needs relations; the slots of an axis would have no code")
        return self


class MetaGmlpMx(GroupTied, HiddenSection):
    """A group-tied MLP writes each slot from the intent and the slot's code (App. D.2)."""


class MetaGmlp(GroupTied, HiddenSection):
    """As meta_gmlp_mx with `slot_width` numbers a slot, then a global mixer over all slots (§4.3)."""

    slot_width: Positive
    mixer: Positive


InitMode = Literal["all", "per_group", "global"]
Aggregation = Literal["attn", "avg", "sum"]
RevEdgeMode = Literal["shared", "separate"]


class MetaGnn(GroupTied):
    """Message passing on the template's neural graph (§4.3). `d_h`, `rounds`: d_h and k of App. C.4.

    intent_rank: 0 lets the intent enter every encoder (the paper's way); R > 0 passes messages once
    without it and mixes R + 1 decoded coefficients per slot by a small network of the intent.
    init_mode: all (a learned code per slot) | per_group (an encoder per group) | global (one encoder).
    residual, pairing: whether residual, and align_one2one and pass_thru edges, carry messages.
    """

    d_h: Positive
    rounds: Positive
    width: Positive
    intent_rank: Count
    intent_hidden: Widths
    init_mode: InitMode
    aggregation: Aggregation
    use_norm: bool
    bidirectional: bool
    rev_edge_mode: RevEdgeMode
    residual: bool
    pairing: bool


class LearnerSections(Section):
    """One section per learner."""

    direct_mlp: DirectMlp
    direct_transformer: DirectTransformer
    meta_mlp: MetaMlp
    meta_gmlp: MetaGmlp
    meta_gmlp_mx: MetaGmlpMx
    meta_gnn: MetaGnn


class Learners(Section):
    """Learner sections for each program family."""

    sumfirst: LearnerSections
    addmod: LearnerSections
    arc1d: LearnerSections


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

    _distinct = field_validator("families", "rows")(_distinct)

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


def read_yaml(path: Path | str) -> Any:
    """Read a YAML 1.2 file as plain values. Raises `UserError` with the place of a syntax error."""
    try:
        return YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path} is missing; copy profiles/laptop.yaml to it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: it is not UTF-8 text ({error.reason})") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{place} is not valid YAML: {getattr(error, 'problem', error)}") from None


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check the settings. Raises `UserError` naming the first wrong setting."""
    return checked(read_yaml(path), path)


def checked(values: Any, path: Path | str) -> Params:
    """The settings that were read from `path`. Raises `UserError` naming the first wrong one."""
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; copy profiles/laptop.yaml to it")
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first finding of pydantic as one line with the dotted name of the setting."""
    findings = error.errors()
    finding = findings[0]
    name = ".".join(map(str, finding["loc"])) or "the file"
    if finding["type"] == "extra_forbidden":
        text = "is not a known setting; check its spelling"
    elif finding["type"] == "missing":
        text = "is missing"
    else:
        text = f"{finding['msg'].removeprefix('Value error, ')} (it is {finding['input']!r:.80})"
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{name}: {text}{more}"
