"""Settings of the learners, for each program family."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.params.section import Count, Positive, Section, Widths, distinct

Activation = Literal["relu", "silu", "gelu", "softplus", "tanh"]
Scale = Literal["linear", "log"]
IntentSlots = Literal["all", "ordered"]


class LearnerSection(Section):
    """What all learners share.

    `budget`: trainable parameters to match by scaling the widths, or null to take them as written;
    `activation`: between the layers of the learner (templates use ReLU); `learning_rate`: Adam's, at
    its peak; `weight_decay`: decoupled from the gradient; `steps`: no more than these training
    steps, where fewer than the family's suffice; `gradient_clip`: a step's gradient is shortened to this
    norm where it is longer (null: never), a guard against divergence at high learning rates; `curriculum`:
    over this share of the steps examples with small objects come oftener, the less so the later (arc1d only; 0: never);
    `loss_power`: a step's loss is the power mean of its intents' losses (1: their mean; 2: the root of their mean
    square, in which an intent weighs as much as its loss, so that what is not learned yet is not drowned).
    """

    budget: Positive | None
    activation: Activation
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
    steps: Positive | None = None
    gradient_clip: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] | None = None
    curriculum: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] = 0.0
    loss_power: Annotated[float, Field(ge=1, le=8, allow_inf_nan=False, strict=True)] = 1.0


class HiddenSection(LearnerSection):
    """A learner with hidden layers of these widths."""

    hidden: Widths


class MetaSection(LearnerSection):
    """What all meta-learners share. `spread`: of the decoded initial θ, as a share of the usual initialisation's.

    Beyond the paper, off by default: `bandwidth`: along an axis with order (tokens, places, positions), what is random
    slot by slot (θ₀, learned codes, what a last layer with a row for each slot writes) holds so many of the slowest
    cosine waves only (null: all of them, white noise), so that what is neighbouring starts out similar; `scale`: log
    counts places of such an axis, and the number that the intent names, by their ratio instead of their difference:
    intent code, positional codes and those waves run along a logarithm (addmod only); `intent_slots`: ordered lets the
    intent change only tensors on such an axis, all others are the same for every intent.
    """

    spread: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
    bandwidth: Positive | None = None
    scale: Scale = "linear"
    intent_slots: IntentSlots = "all"


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

    Beyond the paper, off by default: `relations`: codes that relate a slot to the intent, where the intent
    points into an axis of the slot's tensor (p among the tokens, n among the places); `fourier_relation`:
    sine/cosine pairs in each; `coordinate`: false leaves such an axis no other code, and its tensors no θ₀, so
    that the learner can write a template with more places on that axis.
    """

    fourier: Count
    fourier_ordered: Count
    theta0: bool
    relations: tuple[Literal["difference", "ratio", "equality"], ...] = ()
    fourier_relation: Count = 0
    coordinate: bool = True

    _distinct = field_validator("relations")(distinct)

    @model_validator(mode="after")
    def _relations_fit(self) -> GroupTied:
        if not self.coordinate and not self.relations:
            raise ValueError("coordinate: false needs relations; the slots of an axis would have no code")
        if self.relations and self.scale != "linear":
            raise ValueError("relations are made of the intent's own number; set scale: linear")
        if self.relations and self.intent_slots != "all":
            raise ValueError("relations relate every slot to the intent; set intent_slots: all")
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
    shared_rounds: all rounds have the same parameters (the paper's equations); false: each has its own, so that a
    budget is met by narrower layers.
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
    shared_rounds: bool = True


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
