"""K weight sets in one batch against a loop over weight sets in hypnettorch, as ratios in one run.

    python -m benchmarks.weight_sets [--settings params.yaml] [--seconds 2]

meta_mlp on sumfirst: the K generated networks on 16 examples each; their answers, the same with the gradient, and with
the gradient through the hypernetwork that writes their weights. One CPU thread.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.peers.looped_meta_mlp import LoopedMetaMlp
from benchmarks.timing import median
from pipeline import params
from pipeline.errors import run_main
from pipeline.learners.meta_mlp import MetaMlp
from pipeline.programs import make_family
from pipeline.templates import make_template
from pipeline.training.run import seeded_learner

WEIGHT_SETS = (1, 4, 16, 64)
EXAMPLES = 16


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each row")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = params.load(args.settings)
    family, template = make_family(settings, "sumfirst"), make_template(settings, "sumfirst")
    learner = seeded_learner("meta_mlp", family, template, settings.learner("sumfirst", "meta_mlp"), 0)
    assert isinstance(learner, MetaMlp)
    looped = LoopedMetaMlp(learner)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, meta_mlp of {args.settings}, sumfirst\n")
    print("| weight sets | what | in one batch, ms | hypnettorch, ms | ratio |\n|---|---|---|---|---|")
    for k in WEIGHT_SETS:
        u, x = torch.randn(k, 1), torch.randint(-3, 4, (k, EXAMPLES, family.input_length)).float()
        for what, ours, theirs in (case(learner, looped, u, x) for case in (_answers, _networks, _with_hypernetwork)):
            batched, loop = median(ours, args.seconds), median(theirs, args.seconds)
            print(f"| {k} | {what} | {batched:.2f} | {loop:.2f} | {loop / batched:.1f} |", flush=True)


Pair = tuple[str, Callable[[], None], Callable[[], None]]


def _answers(learner: MetaMlp, looped: LoopedMetaMlp, u: Tensor, x: Tensor) -> Pair:
    with torch.no_grad():
        theta, weights = learner.generate(u), looped.generate(u)

    @torch.no_grad()
    def ours() -> None:
        learner.template.forward(theta, x)

    @torch.no_grad()
    def theirs() -> None:
        looped.run(weights, x)

    return "answers", ours, theirs


def _networks(learner: MetaMlp, looped: LoopedMetaMlp, u: Tensor, x: Tensor) -> Pair:
    theta = {name: value.detach().requires_grad_() for name, value in learner.generate(u).items()}
    weights = [[w.detach().requires_grad_() for w in one] for one in looped.generate(u)]

    def ours() -> None:
        torch.autograd.grad(learner.template.forward(theta, x).square().sum(), list(theta.values()))

    def theirs() -> None:
        torch.autograd.grad(looped.run(weights, x).square().sum(), [w for one in weights for w in one])

    return "and the gradient", ours, theirs


def _with_hypernetwork(learner: MetaMlp, looped: LoopedMetaMlp, u: Tensor, x: Tensor) -> Pair:
    def ours() -> None:
        loss = learner.template.forward(learner.generate(u), x).square().sum()
        torch.autograd.grad(loss, list(learner.parameters()))

    def theirs() -> None:
        torch.autograd.grad(looped.run(looped.generate(u), x).square().sum(), looped.parameters())

    return "through the hypernetwork", ours, theirs


if __name__ == "__main__":
    run_main(main)
