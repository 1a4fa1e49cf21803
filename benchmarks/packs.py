"""Time of a training step of packs of seeds, for one seed, against seeds trained one after the other.

    python -m benchmarks.packs [--settings params.yaml] [--family addmod] [--packs 1 2 5 10] [--seconds 2]

A step is what training takes, batches and AdamW with it, on the device of NEUROP_DEVICE; a CPU has one thread.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.step_time import median
from pipeline import params
from pipeline.errors import run_main
from pipeline.params import FAMILIES, Params
from pipeline.programs import Family, make_family
from pipeline.programs.tables import Split
from pipeline.templates import make_template
from pipeline.training import machine
from pipeline.training.batches import Batches
from pipeline.training.run import seeded_learner
from pipeline.training.stack import Stack
from pipeline.training.step import Step

EXAMPLES = 1000  # of each intent; what they are is of no matter to the time


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--family", default="addmod", choices=FAMILIES)
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 2, 5, 10], help="sizes; ratios are to the first")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each cell")
    args = parser.parse_args(argv)
    settings, device = params.load(args.settings), machine.prepare()
    print(
        f"torch {torch.__version__}, {device}, {args.settings}, {args.family}: ms a step and seed (median), and ratio\n"
    )
    print("| learner |" + "".join(f" pack of {size} |" for size in args.packs) + "\n|---|" + "---|" * len(args.packs))
    for name in settings.grid.learners:
        times = [_milliseconds(settings, args.family, name, size, device, args.seconds) for size in args.packs]
        cells = [f"{time:.2f} ({times[0] / time:.1f} ×)" for time in times]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _milliseconds(settings: Params, family: str, name: str, size: int, device: torch.device, seconds: float) -> float:
    """Median milliseconds of a step of a pack, divided by its seeds."""
    programs, template = make_family(settings, family), make_template(settings, family)
    section, training = settings.learner(family, name), getattr(settings.training, family)
    split = _made_up(programs).to(device)
    u = torch.from_numpy(programs.codes(split.intents)).to(device)
    learners = [seeded_learner(name, programs, template, section, seed).to(device) for seed in range(size)]
    streams = [Batches(s, split.counts.cpu().numpy(), training.batch, training.meta_batch) for s in range(size)]
    step = Step(Stack(learners), section, training, streams, u, split)
    number = iter(range(training.steps))

    def one() -> None:
        step(next(number))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return median(one, seconds) / size


def _made_up(family: Family) -> Split:
    intents = family.intents("train")
    high = family.vocabulary or 3
    x = torch.randint(0, high, (len(intents), EXAMPLES, family.input_length), dtype=torch.int16)
    y = torch.randint(0, high, (len(intents), EXAMPLES, family.output_length), dtype=torch.int16)
    return Split(intents, x, y, torch.full((len(intents),), EXAMPLES))


if __name__ == "__main__":
    run_main(main)
