"""direct_transformer: the baseline (intent, x) → y without θ, by a Transformer encoder (§5.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.learners import base
from pipeline.learners.layers import ACTIVATIONS
from pipeline.params import DirectTransformer as Settings
from pipeline.programs import Family
from pipeline.templates import Template


class DirectTransformer(base.Learner):
    """The intent is the first token, then the input; pre-norm encoder layers; no teacher forcing.

    Where output and input have one length (arc1d) each place is read out at its token, else all
    outputs are read at the intent's token. Numbers are embedded by a linear map.
    """

    def __init__(self, family: Family, template: Template, settings: Settings, d_u: int) -> None:
        super().__init__(family, template)
        d, v = settings.d_model, family.vocabulary
        self.per_place = family.output_length == family.input_length
        self.intent = nn.Linear(d_u, d)
        self.embed = nn.Linear(1, d) if v is None else nn.Embedding(v, d)
        self.position = nn.Parameter(torch.randn(family.input_length, d) * d**-0.5)
        activation = ACTIVATIONS[settings.activation]()
        layer = nn.TransformerEncoderLayer(
            d, settings.n_heads, 4 * d, 0.0, activation, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, settings.n_layers, nn.LayerNorm(d), enable_nested_tensor=False)
        self.read_out = nn.Linear(d, (1 if self.per_place else family.output_length) * (v or 1))

    def bind(self, u: Tensor) -> base.Program:
        return lambda x, y: self._answer(u, x)

    def _answer(self, u: Tensor, x: Tensor) -> Tensor:
        k, n, length = x.shape
        v = self.family.vocabulary
        tokens = self.embed(x.float()[..., None] if v is None else x) + self.position  # [K, n, l, d]
        intent = self.intent(u)[:, None, None].expand(k, n, 1, -1)
        stream = self.encoder(torch.cat([intent, tokens], 2).view(k * n, length + 1, -1))
        out = self.read_out(stream[:, 1:] if self.per_place else stream[:, 0])
        shape = (k, n, self.family.output_length) if v is None else (k, n, self.family.output_length, v)
        return out.view(shape)


Learner = DirectTransformer
