"""meta_gnn for a network of the user's own: no program family, no settings file."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import MetaGnn as Settings
from pipeline.templates import ModuleTemplate

# The laptop profile's settings for addmod, where the initial weights are kept and intents mix changes to them.
DEFAULTS: dict[str, Any] = {
    "budget": None,
    "activation": "silu",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "spread": 0.1,
    "theta0": True,
    "fourier": 8,
    "fourier_ordered": 0,
    "d_h": 16,
    "rounds": 1,
    "width": 32,
    "intent_rank": 8,
    "intent_hidden": [32, 32],
    "init_mode": "all",
    "aggregation": "attn",
    "use_norm": False,
    "bidirectional": True,
    "rev_edge_mode": "separate",
    "residual": True,
    "pairing": True,
}


def meta_gnn_for(module: nn.Module, intents: Tensor, *example: Tensor, **settings: Any) -> MetaGnn:
    """A meta_gnn that writes all parameters of `module` from an intent code.

    `learner.generate(u)` gives θ by parameter name, [K, *shape], and `learner(u, x)` the module's
    outputs [K, n, …] on x [K, n, …] under K weight sets. Random parameters come from torch's generator.
    Training is a plain loop: `learner.parameters()` are the learner's, the module's stay as they are. Start Adam
    near 1e-3: all weights move together, and at a few times that a small ReLU network soon answers one thing.

    Args:
        module: any network that `NeuralGraph.from_module` takes; its parameters are the initial θ.
        intents: codes of the train intents [K, d_u] (about −1 … 1); the initial θ is calibrated on them.
        example: one batch for each input of the module, [n, …], where its first layer leaves sizes open.
        settings: of `params.MetaGnn`, where they differ from `DEFAULTS`.

    Raises:
        UserError: if the module has no neural graph, or a setting is wrong.
    """
    try:
        section = Settings.model_validate(DEFAULTS | settings)
    except ValidationError as error:
        finding = error.errors()[0]
        raise UserError(f"meta_gnn_for: {'.'.join(map(str, finding['loc']))}: {finding['msg']}") from None
    if intents.ndim != 2:
        raise UserError(f"meta_gnn_for: intents have shape {list(intents.shape)}, but need [K, d_u]")
    learner = MetaGnn(None, ModuleTemplate(module, *example), section, intents.shape[1])
    learner.calibrate(intents.cpu().float(), torch.Generator())
    return learner
