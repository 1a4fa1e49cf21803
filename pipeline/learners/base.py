"""What every learner shares: the two kinds of learner, and the calibrated initial θ."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.learners.layers import BandLimit
from pipeline.learners.relations import with_theta0
from pipeline.learners.scale import scaled
from pipeline.params import MetaSection
from pipeline.programs import Family
from pipeline.templates import Template, Theta

Program = Callable[[Tensor, Tensor], Tensor]
"""(x [K, n, l], y [K, n, m]) → outputs [K, n, m] or logits [K, n, m, v]."""


@dataclass(frozen=True)
class Head:
    """The rows of a last linear layer that write one tensor; `shifted`: those whose bias adds to θ, if not all."""

    layer: nn.Linear
    rows: slice
    shifted: slice | None = None


class Learner(nn.Module):
    """Maps intent codes u [K, d_u] and inputs x [K, n, l] to outputs [K, n, m] or logits [K, n, m, v].

    `y` [K, n, m] is read for teacher forcing only: no output depends on the answer at its place or after.
    A meta-learner without a program family (family None) has no answers: its template reads x as it is.
    """

    def __init__(self, family: Family | None, template: Template) -> None:
        super().__init__()
        self.of_family, self.template = family, template

    @property
    def family(self) -> Family:
        """The program family. Raises `TypeError` for a learner that has none."""
        if self.of_family is None:
            raise TypeError("this learner has no program family; its inputs and outputs are the template's")
        return self.of_family

    @abstractmethod
    def bind(self, u: Tensor) -> Program:
        """The programs of K intents as one function of (x, y); what depends on u alone is done once."""

    def forward(self, u: Tensor, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y may be left out by a learner without a program family only."""
        if y is None and self.of_family is not None:
            raise TypeError("a learner of a program family reads the answers y too, for teacher forcing")
        return self.bind(u)(x, x if y is None else y)

    def calibrate(self, u: Tensor, generator: torch.Generator) -> None:
        """Set the initial θ from the train intents u [K, d_u]; a direct baseline has none."""


class MetaLearner(Learner):
    """Writes all weights of the template from the intent, then runs it (§4, F(u, x) = m_{S, M(u)}(x)).

    `settings`: its section of the settings, widths as they are after capacity matching.
    Raises `UserError` for a logarithmic scale where intents are no sizes, and for `intent_slots: ordered` where no
    tensor of the template has an axis with order.
    """

    follows: Tensor

    def __init__(self, family: Family | None, template: Template, settings: MetaSection) -> None:
        super().__init__(family, template)
        if settings.scale == "log" and not (family is not None and family.intents_are_sizes):
            raise UserError(_no_sizes(family))
        self.settings = settings
        self.with_theta0 = with_theta0(family, template, settings)
        if settings.intent_slots == "ordered":
            self.register_buffer("follows", _on_ordered_axes(template))

    @abstractmethod
    def slots_of(self, u: Tensor) -> Tensor:
        """All slots [K, T] of the generated weights from intent codes [K, d_u] on the learner's scale."""

    def slots(self, u: Tensor) -> Tensor:
        """All slots [K, T] of the generated weights from intent codes u [K, d_u].

        Slots that the intent leaves alone are those of the intent code 0.
        """
        u = scaled(u, self.settings.scale)
        if self.settings.intent_slots == "all":
            return self.slots_of(u)
        theta = self.slots_of(torch.cat([u, torch.zeros_like(u[:1])]))
        return torch.where(self.follows, theta[:-1], theta[-1:])

    @abstractmethod
    def heads(self) -> Iterator[Head]:
        """For each tensor of the template, the last linear layer and its rows that write the tensor."""

    def generate(self, u: Tensor) -> Theta:
        """θ, named tensors [K, …], from intent codes u [K, d_u]."""
        return self.template.split(self.slots(u))

    def bind(self, u: Tensor) -> Program:
        theta = self.generate(u)
        if self.of_family is None:
            return lambda x, y: self.template.forward(theta, x)
        return lambda x, y: self.template.forward(theta, self.family.template_input(x, y))

    def anchored(self) -> set[str]:
        """The tensors to whose initial θ something fixed is added (see `anchor`)."""
        return self.with_theta0

    @torch.no_grad()
    def anchor(self, generator: torch.Generator | None) -> None:
        """Draw what is fixed in the initial θ: the buffer `theta0`, if there is one. None: set it to zero."""
        theta0: Tensor | None = getattr(self, "theta0", None)
        if theta0 is None:
            return
        theta0.copy_(torch.zeros_like(theta0) if generator is None else self._drawn(generator))
        for tensor, piece in zip(self.template.tensors, self.template.pieces(theta0), strict=True):
            if tensor.name not in self.with_theta0:
                piece.zero_()

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """Slots [T] of one usual initialisation, within the settings' bandwidth."""
        drawn = self.template.initial(generator)
        pieces = zip(self.template.tensors, self.template.pieces(drawn), strict=True)
        return torch.cat([BandLimit(tensor.axes, self.settings, True)(piece) for tensor, piece in pieces])

    @torch.no_grad()
    def calibrate(self, u: Tensor, generator: torch.Generator) -> None:
        """Give every tensor of the initial θ its usual mean, and `settings.spread` times its usual spread.

        Measured once on the train intents, then the last layer's rows of each tensor are rescaled. What is fixed
        is drawn from the usual initialisation and added. In a learner with θ₀, a tensor to which nothing is added
        has the whole of its usual spread.
        """
        self.anchor(None)
        anchored = self.anchored()
        # As if the intent changed all of them: what it leaves alone has no spread over intents.
        pieces = self.template.pieces(self.slots_of(scaled(u, self.settings.scale)))
        for tensor, piece, head in zip(self.template.tensors, pieces, self.heads(), strict=True):
            added = tensor.name in anchored
            spread = self.settings.spread if added or not anchored else 1.0
            # One number (one slot, one intent) has no spread: only its mean is set.
            scale = spread * tensor.std / piece.std().clamp_min(1e-8) if piece.numel() > 1 else 1.0
            shifted = head.rows if head.shifted is None else head.shifted
            head.layer.bias[shifted] -= piece.mean()
            head.layer.bias[head.rows] *= scale
            head.layer.weight[head.rows] *= scale
            if not added:
                head.layer.bias[shifted] += tensor.mean
        self.anchor(generator)


def rows_by_tensor(layer: nn.Linear, template: Template) -> Iterator[Head]:
    """The heads of a layer that writes all slots, a row a slot."""
    start = 0
    for tensor in template.tensors:
        yield Head(layer, slice(start, start + tensor.n_slots))
        start += tensor.n_slots


def _on_ordered_axes(template: Template) -> Tensor:
    """Of every slot [T], whether its tensor has an axis with order."""
    ordered = {tensor.name: any(axis.unit is not None for axis in tensor.axes) for tensor in template.tensors}
    if not any(ordered.values()):
        raise UserError("no tensor of the template has an axis with order; set intent_slots: all")
    return torch.cat([torch.full((tensor.n_slots,), ordered[tensor.name]) for tensor in template.tensors])


def _no_sizes(family: Family | None) -> str:
    whose = "a network of your own has" if family is None else f"learners.{family.name}: {family.name} has"
    return f"{whose} no intents that are sizes, as addmod's primes are; set scale: linear"
