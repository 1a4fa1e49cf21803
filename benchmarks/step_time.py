"""Time of a training step of every learner, and of meta_gnn against torch-geometric, as ratios in one run.

    python -m benchmarks.step_time [--settings params.yaml] [--seconds 2]

A step is forward, backward and Adam on one batch, with all the family's train intents, on one CPU thread.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.peers.sparse_meta_gnn import SparseMetaGnn
from pipeline import params
from pipeline.errors import run_main
from pipeline.learners import count
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.templates import make_template
from pipeline.training.run import seeded_learner


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each row")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = params.load(args.settings)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, {args.settings}\n")
    print("| family | learner | parameters | ms a step (median) | ratio to meta_mlp |\n|---|---|---|---|---|")
    for family in settings.grid.families:
        rows = {name: _row(settings, family, name, args.seconds) for name in settings.grid.learners}
        reference = rows["meta_mlp"][1] if "meta_mlp" in rows else float("nan")
        for name, (parameters, milliseconds) in rows.items():
            print(f"| {family} | {name} | {parameters:,} | {milliseconds:.2f} | {milliseconds / reference:.1f} |")
    print("\n| family | mixing | blocks, ms | torch-geometric, ms | ratio |\n|---|---|---|---|---|")
    for family in settings.grid.families:
        for rank in (0, 8):
            ours, theirs = _against_sparse(settings, family, rank, args.seconds)
            mixing = f"factored({rank})" if rank else "message"
            print(f"| {family} | {mixing} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |", flush=True)


def _row(settings: Params, family: str, name: str, seconds: float) -> tuple[int, float]:
    """Trainable parameters, and milliseconds of a whole training step."""
    programs, section = make_family(settings, family), settings.learner(family, name)
    learner = seeded_learner(name, programs, make_template(settings, family), section, 0)
    intents = programs.intents("train")
    u = torch.from_numpy(programs.codes(intents))
    shape = len(intents), max(1, getattr(settings.training, family).batch // len(intents))
    high = programs.vocabulary or 3
    x = torch.randint(0, high, (*shape, programs.input_length))
    y = torch.randint(0, high, (*shape, programs.output_length))
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        programs.loss(learner(u, x, y), y).mean().backward()
        optimizer.step()

    return count(learner)["trainable"], median(step, seconds)


def _against_sparse(settings: Params, family: str, rank: int, seconds: float) -> tuple[float, float]:
    """Milliseconds of generating θ and its gradient, in blocks and edge by edge, from the same parameters."""
    programs, section = make_family(settings, family), settings.learner(family, "meta_gnn")
    section = section.model_copy(update={"intent_rank": rank})
    learner = seeded_learner("meta_gnn", programs, make_template(settings, family), section, 0)
    assert isinstance(learner, MetaGnn)
    u = torch.from_numpy(programs.codes(programs.intents("train")))

    def step(slots: Callable[[Tensor], Tensor]) -> None:
        learner.zero_grad()
        slots(u).square().sum().backward()

    sparse = SparseMetaGnn(learner)
    return median(lambda: step(learner.slots), seconds), median(lambda: step(sparse.slots), seconds)


def median(step: Callable[[], None], seconds: float) -> float:
    """Median milliseconds of a call, after one call to warm up, over at least three."""
    step()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    run_main(main)
