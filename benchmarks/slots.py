"""Time and memory of a meta_gnn step against the number of slots that it writes.

    python -m benchmarks.slots [--settings params.yaml] [--seconds 2] [--most 10000000]

A step generates θ for four intents and takes the gradient, on NEUROP_DEVICE (one thread where it is the CPU), each size
in a process of its own; memory is what the process holds at its peak beyond what it held before: of the machine on a
CPU, of the device on a GPU. Templates are MLPs [10, h, h, 1].
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from multiprocessing.connection import Connection

import torch

from benchmarks.timing import median
from pipeline import params
from pipeline.errors import UserError, run_main
from pipeline.learners.meta_gnn import MetaGnn
from pipeline.params import Params
from pipeline.programs import make_family
from pipeline.templates import Mlp
from pipeline.training import machine

HIDDEN = (6, 25, 93, 310, 994, 3156)  # 10² to 10⁷ slots
# By device: more take minutes a row on a CPU.
MOST = {"cpu": 100_000, "cuda": 10_000_000}
INTENTS = 4
MEBIBYTE = 2**20


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default="params.yaml")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measurement for each row")
    parser.add_argument("--most", type=int, help="slots; default 10⁵ on a CPU, 10⁷ on a GPU")
    args = parser.parse_args(argv)
    settings, device = params.load(args.settings), machine.prepare()
    most = MOST[device.type] if args.most is None else args.most
    print(f"torch {torch.__version__}, {device}, meta_gnn of {args.settings}, addmod, {INTENTS} intents\n")
    print("| mixing | slots | ms a step (median) | µs a slot | MiB | KiB a slot |\n|---|---|---|---|---|---|")
    for rank in (0, 8):
        for hidden in HIDDEN:
            if Mlp((10, hidden, hidden, 1)).n_slots > 1.02 * most:
                continue
            slots, milliseconds, mebibytes = _apart(settings, device, rank, hidden, args.seconds)
            print(
                f"| {f'factored({rank})' if rank else 'message'} | {slots:,} | {milliseconds:.1f} | "
                f"{1e3 * milliseconds / slots:.2f} | {mebibytes:.0f} | {1024 * mebibytes / slots:.1f} |",
                flush=True,
            )


def _apart(settings: Params, device: torch.device, rank: int, hidden: int, seconds: float) -> tuple[int, float, float]:
    """`_measure` in a fresh process: a peak of memory is the process's, for good."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_measure, args=(send, settings, device, rank, hidden, seconds)
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


def _measure(send: Connection, settings: Params, device: torch.device, rank: int, hidden: int, seconds: float) -> None:
    torch.set_num_threads(1)
    family, template = make_family(settings, "addmod"), Mlp((10, hidden, hidden, 1))
    section = settings.learner("addmod", "meta_gnn").model_copy(update={"budget": None, "intent_rank": rank})
    u = torch.from_numpy(family.codes(family.intents("train")[:INTENTS])).to(device)
    learner = MetaGnn(family, template, section, u.shape[1]).to(device)

    def step() -> None:
        learner.zero_grad()
        learner.slots(u).square().sum().backward()

    before = peak(device)
    milliseconds = median(step, seconds, device)
    send.send((template.n_slots, milliseconds, (peak(device) - before) / MEBIBYTE))


def peak(device: torch.device) -> int:
    """The most memory that this process has held on the device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    run_main(main)
