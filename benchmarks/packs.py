"""Time of a training step of packs of seeds, for one seed, against seeds trained one after the other.

    python -m benchmarks.packs [--settings params.yaml] [--family addmod] [--packs 1 2 5 10] [--seconds 2]

A step is what training takes, batches and AdamW with it, on the device of NEUROP_DEVICE; a CPU has one thread.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.step_time import time_step
from pipeline import params
from pipeline.errors import run_main
from pipeline.params import FAMILIES
from pipeline.programs import make_family
from pipeline.programs.tables import as_split
from pipeline.training import machine


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--family", default="addmod", choices=FAMILIES)
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 2, 5, 10], help="sizes; ratios are to the first")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each cell")
    args = parser.parse_args(argv)
    settings, device = params.load(args.settings), machine.prepare()
    print(f"torch {torch.__version__}, {device}, {args.settings}, {args.family}: ms a step and seed (median), ratio\n")
    print("| learner |" + "".join(f" pack of {size} |" for size in args.packs) + "\n|---|" + "---|" * len(args.packs))
    split = as_split(make_family(settings, args.family).generate()["train"]).to(device)
    for name in settings.grid.learners:
        times = [time_step(settings, args.family, name, split, n, args.seconds)[1] / n for n in args.packs]
        print(f"| {name} | " + " | ".join(f"{ms:.2f} ({times[0] / ms:.1f} ×)" for ms in times) + " |", flush=True)


if __name__ == "__main__":
    run_main(main)
