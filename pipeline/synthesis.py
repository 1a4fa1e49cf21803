"""A synthesised program: one safetensors file with weights, template and intent, which runs on its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import UserError
from pipeline.evaluation.evaluate import configuration_digest
from pipeline.files import read_json, replacing
from pipeline.learners import MetaLearner
from pipeline.params import LEARNERS, Params
from pipeline.programs import Family, Intent, family_from
from pipeline.templates import Template, Theta, Transformer, from_spec
from pipeline.training.recipe import RunId, recipe
from pipeline.training.run import Places, load_run

# Input spaces up to this size are checked whole; of larger ones this many fresh examples are drawn.
EXHAUSTIVE = 200_000
FRESH = 10_000
# An analysis, which takes every intent of a family, looks at as many inputs as have so many pairs of positions, which
# is what attention costs.
PAIRS = 10_000_000
AT_ONCE = 1024


@dataclass(frozen=True)
class NeuralProgram:
    """A template with the weights of one intent: θ has K = 1. `source` says which run wrote it."""

    family: Family
    intent: Intent
    template: Template
    theta: Theta
    source: dict[str, Any]

    def answers(self, x: np.ndarray) -> np.ndarray:
        """Answers [n, m] to inputs x [n, l]; sequences are decoded greedily."""
        return np.concatenate([self._answers(torch.from_numpy(part)) for part in _parts(x)])

    def gives(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which inputs x [n, l] have the answers y [n, m], as [n].

        Decoding gives y just where each of its tokens is the most likely one after those before it: one pass over
        the template, where decoding takes m. Only where two logits are equal up to rounding may the two differ.
        """
        pairs = zip(_parts(x), _parts(y), strict=True)
        return np.concatenate([self._gives(torch.from_numpy(a)[None], torch.from_numpy(b)[None]) for a, b in pairs])

    @torch.no_grad()
    def _answers(self, x: Tensor) -> np.ndarray:
        if isinstance(self.template, Transformer):
            answers = self.template.decode(self.theta, x[None])
        else:
            answers = self.family.answer(self._output(x[None], torch.zeros(1, len(x), self.family.output_length)))
        return answers[0].numpy()

    @torch.no_grad()
    def _gives(self, x: Tensor, y: Tensor) -> np.ndarray:
        return self.family.solved(self._output(x, y), y)[0].numpy()

    def _output(self, x: Tensor, y: Tensor) -> Tensor:
        return self.template.forward(self.theta, self.family.template_input(x, y))

    @property
    def affordable(self) -> int:
        """How many inputs an analysis looks at at most."""
        m = self.family.output_length
        return max(1, min(EXHAUSTIVE, PAIRS // (m * (self.family.input_length + m - 1))))

    def inputs(self, rng: np.random.Generator, most: int = EXHAUSTIVE) -> tuple[np.ndarray, bool]:
        """All inputs [n, l], if they are at most so many, and True; else fresh ones drawn with `rng`, and False."""
        space = self.family.space(self.intent)
        if space <= most:
            return self.family.decode(self.intent, np.arange(space)), True
        return self.family.sample(rng, self.intent, min(FRESH, most)), False

    def verify(self, rng: np.random.Generator, most: int = EXHAUSTIVE) -> tuple[int, int, bool]:
        """Solved examples, examples checked, and whether those are all the inputs there are, which they are if at
        most `most` exist."""
        x, exhaustive = self.inputs(rng, most)
        right = self.gives(x, self.family.rule(self.intent, x))
        return int(right.sum()), len(x), exhaustive

    def save(self, path: Path) -> None:
        """Write the program as one file, whole or not at all."""
        about = {
            "family": self.family.name,
            "program": self.family.settings.model_dump(mode="json"),
            "intent": [self.intent.kind, self.intent.parameter],
            "template": self.template.spec(),
            "source": self.source,
        }
        with replacing(path) as temporary:
            tensors = {name: value[0].contiguous() for name, value in self.theta.items()}
            # Not `save_file`: its errors are no OSError, and its files are closed to other users.
            temporary.write_bytes(save(tensors, {"neurop": json.dumps(about, sort_keys=True)}))


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[start : start + AT_ONCE] for start in range(0, len(x), AT_ONCE))


def _fits(template: Template, family: Family) -> bool:
    """Whether the template reads and writes what the family does."""
    if isinstance(template, Transformer):
        c, length = template.config, family.input_length + family.output_length - 1
        return c.d_vocab == family.vocabulary and c.n_out == family.output_length and c.n_ctx >= length
    ends = (template.tensors[0].shape[0], template.tensors[-1].shape[-1])
    return family.vocabulary is None and ends == (family.input_length, family.output_length)


def _has(family: Family, intent: Intent) -> bool:
    """Whether a person could ask the family for this intent."""
    try:
        return family.parse(str(intent)) == intent
    except UserError:
        return False


def load_program(path: Path) -> NeuralProgram:
    """Read a program file. Raises `UserError` if it is missing, damaged, or not one."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["neurop"])
            theta = {name: file.get_tensor(name)[None].float() for name in file.keys()}  # noqa: SIM118
        family = family_from(about["family"], about["program"])
        kind, parameter = about["intent"]
        template = from_spec(about["template"], str(path))
        intent, source = Intent(str(kind), int(parameter)), dict(about["source"])
        if not (_fits(template, family) and _has(family, intent)):
            raise ValueError("its template or intent does not fit its family")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; write one with `neurop synthesize`") from None
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{path} is not a program written by `neurop synthesize` ({line})") from None
    template.check(theta, str(path))
    return NeuralProgram(family, intent, template, theta, source)


@torch.no_grad()
def written(learner: MetaLearner, intents: Sequence[Intent]) -> Theta:
    """θ [K, …] (float32, CPU) of K intents, computed in double precision.

    Kernels of different processors round float32 differently; in double precision what that changes is far below
    float32, so that every machine writes the same weights from the same learner.
    """
    u = torch.from_numpy(learner.family.codes(tuple(intents))).double()
    return {name: value.float() for name, value in copy.deepcopy(learner).double().generate(u).items()}


def synthesize(directory: Path, intent_text: str) -> NeuralProgram:
    """The program that a trained run writes for an intent. Raises `UserError` for a direct baseline."""
    learner, config = load_run(directory)
    if not isinstance(learner, MetaLearner):
        raise UserError(f"{config['learner']} is a direct baseline and writes no weights; name a meta-learner")
    try:
        intent = learner.family.parse(intent_text)
    except ValueError:  # Python converts no number of more than 4,300 digits.
        raise UserError(f"{learner.family.name} has no intent '{intent_text[:20]}…'; give a smaller number") from None
    theta = written(learner, (intent,))
    source = {key: config[key] for key in ("learner", "seed")} | {"configuration": configuration_digest(config)}
    return NeuralProgram(learner.family, intent, learner.template, theta, source)


def choose_run(params: Params, family: str, learner: str | None, seed: int | None, places: Places) -> RunId:
    """The trained run with the best val accuracy (then loss) among those asked for. Never reads ood.

    Raises `UserError` if none of them is trained.
    """
    learners = [learner] if learner is not None else [name for name in params.grid.learners if name.startswith("meta_")]
    if learner is not None and learner not in LEARNERS:
        raise UserError(f"there is no learner '{learner}'; there are {', '.join(LEARNERS)}")
    recipes = [recipe(params, family, name) for name in learners]
    found = []
    for run in (run for of in recipes for run in (of.runs if seed is None else (of.run(seed),))):
        path = places.run(run) / "config.json"
        if path.exists():
            selected = read_json(path)["selected"]
            found.append((-selected["val_accuracy"], selected["val_loss"], str(run), run))
    if not found:
        asked = f"{family}/{learner or 'any meta-learner'}/{'any seed' if seed is None else seed}"
        raise UserError(f"no trained run of {asked} is here; run `dvc repro` first")
    return min(found)[-1]
