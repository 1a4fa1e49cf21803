"""meta_mlp computed with hypnettorch, one weight set after the other: an oracle and a peer to time."""

from __future__ import annotations

import torch
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from torch import Tensor, nn

from pipeline.learners.meta_mlp import MetaMlp
from pipeline.templates import Mlp


class LoopedMetaMlp:
    """The same weights and outputs as the learner's, from copies of its parameters, for an MLP template."""

    def __init__(self, learner: MetaMlp) -> None:
        template = learner.template
        assert isinstance(template, Mlp)
        layers = [layer for layer in learner.network if isinstance(layer, nn.Linear)]
        sizes = template.sizes
        self.target = MLP(sizes[0], sizes[-1], sizes[1:-1], activation_fn=nn.ReLU(), no_weights=True, verbose=False)
        self.hypernetwork = HMLP(
            self.target.param_shapes,
            uncond_in_size=layers[0].in_features,
            cond_in_size=0,
            layers=[layer.out_features for layer in layers[:-1]],
            activation_fn=next(layer for layer in learner.network if not isinstance(layer, nn.Linear)),
            num_cond_embs=0,
            verbose=False,
        )
        rows = _rows(template)
        state = [value for layer in layers[:-1] for value in (layer.weight, layer.bias)]
        state += [layers[-1].weight[rows], layers[-1].bias[rows]]
        with torch.no_grad():
            for mine, theirs in zip(self.hypernetwork.internal_params, state, strict=True):
                mine.copy_(theirs)

    def parameters(self) -> list[nn.Parameter]:
        """The hypernetwork's parameters."""
        return list(self.hypernetwork.internal_params)

    def generate(self, u: Tensor) -> list[list[Tensor]]:
        """The weights of K intents, u [K, d_u]."""
        weights = self.hypernetwork.forward(uncond_input=u, ret_format="squeezed")
        return [weights] if len(u) == 1 else weights

    def run(self, weights: list[list[Tensor]], x: Tensor) -> Tensor:
        """x [K, n, i] gives [K, n, o], one weight set after the other."""
        return torch.stack([self.target.forward(one, theta) for one, theta in zip(x, weights, strict=True)])


def _rows(template: Mlp) -> Tensor:
    """The slots in the order in which hypnettorch counts them: its matrices have outputs first."""
    pieces = template.split(torch.arange(template.n_slots)[None])
    return torch.cat(
        [pieces[t.name][0].T.flatten() if len(t.axes) > 1 else pieces[t.name][0] for t in template.tensors]
    )
