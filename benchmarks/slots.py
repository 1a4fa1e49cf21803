"""Time and memory of a meta_gnn step against the number of slots that it writes.

    python -m benchmarks.slots [--settings params.yaml] [--seconds 2]

A step generates θ for four intents and takes the gradient, on one CPU thread, each size in a process of its own; memory
is what the process holds at its peak beyond what it held before. Templates are MLPs [10, h, h, 1].
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from multiprocessing.connection import Connection

import torch

from benchmarks.step_time import median
from pipeline import params
from pipeline.errors import UserError, run_main
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.templates import Mlp

HIDDEN = (6, 25, 93, 310)  # 10² to 10⁵ slots
INTENTS = 4
MEBIBYTE = 2**20


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each row")
    args = parser.parse_args(argv)
    settings = params.load(args.settings)
    print(f"torch {torch.__version__}, one thread, meta_gnn of {args.settings}, addmod, {INTENTS} intents\n")
    print("| mixing | slots | ms a step (median) | µs a slot | MiB | KiB a slot |\n|---|---|---|---|---|---|")
    for rank in (0, 8):
        for hidden in HIDDEN:
            slots, milliseconds, mebibytes = _apart(settings, rank, hidden, args.seconds)
            print(
                f"| {f'factored({rank})' if rank else 'message'} | {slots:,} | {milliseconds:.1f} | "
                f"{1e3 * milliseconds / slots:.2f} | {mebibytes:.0f} | {1024 * mebibytes / slots:.1f} |",
                flush=True,
            )


def _apart(settings: Params, rank: int, hidden: int, seconds: float) -> tuple[int, float, float]:
    """`_measure` in a fresh process: a peak of memory is the process's, for good."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_measure, args=(send, settings, rank, hidden, seconds)
    )
    process.start()
    send.close()
    try:
        found: tuple[int, float, float] = receive.recv()
    except EOFError:
        raise UserError(
            f"the process that measured [10, {hidden}, {hidden}, 1] ended early; is memory short?"
        ) from None
    finally:
        process.join()
    return found


def _measure(send: Connection, settings: Params, rank: int, hidden: int, seconds: float) -> None:
    torch.set_num_threads(1)
    family, template = make_family(settings, "addmod"), Mlp((10, hidden, hidden, 1))
    section = settings.learner("addmod", "meta_gnn").model_copy(update={"budget": None, "intent_rank": rank})
    u = torch.from_numpy(family.codes(family.intents("train")[:INTENTS]))
    learner = MetaGnn(family, template, section, u.shape[1])

    def step() -> None:
        learner.zero_grad()
        learner.slots(u).square().sum().backward()

    before = _peak()
    milliseconds = median(step, seconds)
    send.send((template.n_slots, milliseconds, (_peak() - before) / MEBIBYTE))


def _peak() -> int:
    """The most memory that this process has held, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    run_main(main)
