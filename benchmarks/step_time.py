"""Time of a training step of every learner, and of meta_gnn against torch-geometric, as ratios in one run.

    python -m benchmarks.step_time [--settings params.yaml] [--seconds 2] [--seeds 1]

A step is the one that training takes: a batch of all the family's train intents, forward, backward and AdamW, on
NEUROP_DEVICE (one CPU thread; on CUDA as one graph), of one seed or of a pack of several. The comparison with
torch-geometric is made on a CPU, where torch-geometric is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.timing import median
from pipeline import params
from pipeline.errors import run_main
from pipeline.learners import count
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.programs.tables import Split, as_split
from pipeline.templates import make_template
from pipeline.training import machine
from pipeline.training.batches import Batches
from pipeline.training.run import seeded_learner
from pipeline.training.stack import Stack
from pipeline.training.step import Step

# On CUDA one step takes less time than it takes to wait for it.
STEPS_AT_ONCE = {"cpu": 1, "cuda": 20}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each row")
    parser.add_argument("--seeds", type=int, default=1, help="that train as one pack")
    args = parser.parse_args(argv)
    device, settings = machine.prepare(), params.load(args.settings)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()}, one thread"
    print(f"torch {torch.__version__}, {where}, {args.settings}, seeds at once: {args.seeds}\n")
    print("| family | learner | parameters | ms a step (median) | ratio to meta_mlp |\n|---|---|---|---|---|")
    for family in settings.grid.families:
        split = as_split(make_family(settings, family).generate()["train"]).to(device)
        rows = {
            name: time_step(settings, family, name, split, args.seeds, args.seconds) for name in settings.grid.learners
        }
        reference = rows["meta_mlp"][1] if "meta_mlp" in rows else float("nan")
        for name, (parameters, milliseconds) in rows.items():
            ratio = milliseconds / reference
            print(f"| {family} | {name} | {parameters:,} | {milliseconds:.2f} | {ratio:.1f} |", flush=True)
    if device.type == "cpu" and importlib.util.find_spec("torch_geometric") is not None:
        _table_of_mixing(settings, args.seconds)


def _table_of_mixing(settings: Params, seconds: float) -> None:
    print("\n| family | mixing | blocks, ms | torch-geometric, ms | ratio |\n|---|---|---|---|---|")
    for family in settings.grid.families:
        for rank in (0, 8):
            ours, theirs = _against_sparse(settings, family, rank, seconds)
            mixing = f"factored({rank})" if rank else "message"
            print(f"| {family} | {mixing} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |", flush=True)


def time_step(
    settings: Params, family: str, name: str, split: Split, n_seeds: int, seconds: float
) -> tuple[int, float]:
    """Trainable parameters of a seed, and milliseconds of a whole training step of a pack, on the split's device."""
    programs, section = make_family(settings, family), settings.learner(family, name)
    template, training = make_template(settings, family), getattr(settings.training, family)
    device, seeds = split.x.device, range(n_seeds)
    learners = [seeded_learner(name, programs, template, section, seed).to(device) for seed in seeds]
    streams = [Batches(seed, split.counts.cpu().numpy(), training.batch, training.meta_batch) for seed in seeds]
    u = torch.from_numpy(programs.codes(split.intents)).to(device)
    step, number = Step(Stack(learners), section, training, streams, u, split), -1

    def steps() -> None:
        nonlocal number
        for _ in range(STEPS_AT_ONCE[device.type]):
            number += 1
            step(number)

    return count(learners[0])["trainable"], median(steps, seconds, device) / STEPS_AT_ONCE[device.type]


def _against_sparse(settings: Params, family: str, rank: int, seconds: float) -> tuple[float, float]:
    """Milliseconds of generating θ and its gradient, in blocks and edge by edge, from the same parameters."""
    from benchmarks.peers.sparse_meta_gnn import SparseMetaGnn

    programs, section = make_family(settings, family), settings.learner(family, "meta_gnn")
    section = section.model_copy(update={"intent_rank": rank, "intent_slots": "all"})
    learner = seeded_learner("meta_gnn", programs, make_template(settings, family), section, 0)
    assert isinstance(learner, MetaGnn)
    u = torch.from_numpy(programs.codes(programs.intents("train")))

    def step(slots: Callable[[Tensor], Tensor]) -> None:
        learner.zero_grad()
        slots(u).square().sum().backward()

    sparse = SparseMetaGnn(learner)
    blocks = median(lambda: step(learner.slots), seconds, u.device)
    return blocks, median(lambda: step(sparse.slots), seconds, u.device)


if __name__ == "__main__":
    run_main(main)
