"""The learners of a pack as one batched program: every parameter with a leading seed axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.learners import Learner

TINY = 1e-30


class Stack:
    """S learners of one shape, seeds of one pack, each with its own parameters.

    Of several, the parameters are stacked, and each learner's own become views of its part: what changes the stack
    changes the learners. A single learner stays as it is and runs as it is.

    Args:
        learners: on one device, calibrated; they differ in the values of parameters and buffers only.

    Attributes:
        parameters: what is trained, by name: [S, …], of a single learner […].
    """

    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners = tuple(learners)
        first = self.learners[0]
        self.parameters: dict[str, Tensor] = dict(first.named_parameters())
        self.buffers: dict[str, Tensor] = {}
        if len(self.learners) > 1:
            self.parameters = {name: self._stacked(name) for name in self.parameters}
            self.buffers = {
                name: mine for name in dict(first.named_buffers()) if (mine := self._differing(name)) is not None
            }

    def losses(self, u: Tensor, x: Tensor, y: Tensor, power: float) -> Tensor:
        """Loss [S] of each learner on its own batch: u [S, k, d_u], x [S, k, n, l], y [S, k, n, m].

        `power`: p of the power mean by which the losses of the k intents become one.
        """
        if len(self.learners) == 1:
            return self._loss(self.learners[0](u[0], x[0], y[0]), y[0], power)[None]
        # The other kernels of attention have no batched form everywhere.
        with sdpa_kernel(SDPBackend.MATH):
            losses: Tensor = torch.vmap(partial(self._one, power))(self.parameters, self.buffers, u, x, y)
        return losses

    @torch.no_grad()
    def clip(self, most: float) -> None:
        """Shorten each learner's gradient, all its parameters together, to norm `most` where it is longer."""
        if len(self.learners) == 1:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), most)
            return
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        norms = torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1)  # [S]
        factor = (most / norms).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))

    def _one(
        self, power: float, parameters: dict[str, Tensor], buffers: dict[str, Tensor], u: Tensor, x: Tensor, y: Tensor
    ) -> Tensor:
        # Where two names stand for one module, its parameters are put back wrongly if both are tied.
        output = functional_call(self.learners[0], (parameters, buffers), (u, x, y), tie_weights=False)
        return self._loss(output, y, power)

    def _loss(self, output: Tensor, y: Tensor, power: float) -> Tensor:
        losses = self.learners[0].family.loss(output, y)  # [k, n]
        if power == 1:
            return losses.mean()
        # TINY: where every loss is zero, the root would have no gradient.
        return (losses.mean(1).pow(power).mean() + TINY).pow(1 / power)

    def _stacked(self, name: str) -> Tensor:
        """The learners' parameters of one name as one tensor, of which they become views."""
        mine = [learner.get_parameter(name) for learner in self.learners]
        stacked = torch.stack([parameter.detach() for parameter in mine])
        for parameter, part in zip(mine, stacked, strict=True):
            parameter.data = part
        return stacked.requires_grad_()

    def _differing(self, name: str) -> Tensor | None:
        """The learners' buffers of one name as one tensor, or None if they are all the same (codes of slots)."""
        mine = [learner.get_buffer(name) for learner in self.learners]
        if all(torch.equal(mine[0], other) for other in mine[1:]):
            return None
        return torch.stack(mine)
