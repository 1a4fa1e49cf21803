"""What is analysed: the weights that one run writes for every intent of its family."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.learners import MetaLearner
from pipeline.params import Scale, learner_section
from pipeline.programs import Family, Intent
from pipeline.synthesis import NeuralProgram, written
from pipeline.templates import Template, Theta
from pipeline.training.run import load_run, seeded_learner

# Only networks that classify are said to have a mechanism.
GATE = 0.99


@dataclass(frozen=True)
class Subject:
    """One run: a family, a template, and θ of K intents, with that of the same learner before training.

    `theta` and `untrained` are float32 on the CPU, [K, …], in the order of `intents`. `config` is the run's.
    """

    family: Family
    learner: MetaLearner
    config: dict[str, Any]
    intents: tuple[Intent, ...]
    theta: Theta
    untrained: Theta

    @property
    def template(self) -> Template:
        return self.learner.template

    @property
    def name(self) -> str:
        """The learner and seed, such as `meta_mlp seed 4`."""
        return f"{self.config['learner']} seed {self.config['seed']}"

    @property
    def scale(self) -> Scale:
        """How the learner counts what the intents name."""
        return self.learner.settings.scale

    @property
    def seen(self) -> np.ndarray:
        """Which intents [K] were trained."""
        trained = set(self.family.intents("train"))
        return np.array([intent in trained for intent in self.intents])

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Share of inputs solved [K]: of all inputs where they are few enough, else of fresh ones, at most 10,000."""
        return self.accuracy_of(self.theta)

    def accuracy_of(self, theta: Theta) -> np.ndarray:
        """The same with other weights θ [K, …]."""
        programs = [self.program(k, theta) for k in range(len(self.intents))]
        found = [program.verify(np.random.default_rng(0), program.affordable) for program in programs]
        return np.array([solved / checked for solved, checked, _ in found])

    def program(self, k: int, theta: Theta | None = None) -> NeuralProgram:
        """The network of intent number k, with its own weights or with those of `theta` [K, …]."""
        chosen = {name: value[k : k + 1] for name, value in (self.theta if theta is None else theta).items()}
        return NeuralProgram(self.family, self.intents[k], self.template, chosen, {})

    @property
    def gate(self) -> str:
        """A sentence on which networks reach `GATE` and which do not."""
        below = [str(u) for u, passed in zip(self.intents, self.passed, strict=True) if not passed]
        if not below:
            return f"All {len(self.intents)} networks reach an accuracy of {GATE}."
        if len(below) == len(self.intents):
            return f"No network reaches an accuracy of {GATE}: this describes weights that do not solve the task."
        counted = f"{len(self.intents) - len(below)} of {len(self.intents)}"
        return f"{counted} networks reach an accuracy of {GATE}; below it are {', '.join(below)}."

    @property
    def passed(self) -> np.ndarray:
        """Which intents' networks [K] reach the accuracy `GATE`."""
        return self.accuracy >= GATE


def load(directory: Path) -> Subject | None:
    """The run in `directory`, or None if its learner writes no weights.

    Raises `UserError` if the run is missing or damaged.
    """
    learner, config = load_run(directory)
    if not isinstance(learner, MetaLearner):
        return None
    family = learner.family
    # By kind, then parameter: measures along an intent's parameter read neighbours beside each other.
    intents = tuple(sorted(family.all_intents(), key=lambda intent: (intent.kind, intent.parameter)))
    section = learner_section(config["learner"], config["settings"])
    before = seeded_learner(config["learner"], family, learner.template, section, config["seed"])
    assert isinstance(before, MetaLearner)
    return Subject(family, learner, config, intents, written(learner, intents), written(before, intents))
