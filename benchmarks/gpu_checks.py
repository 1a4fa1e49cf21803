"""Whether training on this machine's device is right: a plain program, for machines where no test tools are.

    NEUROP_DEVICE=cuda python -m benchmarks.gpu_checks [--only addmod-meta_mlp]

Every learner on every family of the laptop profile trains for a few steps:

* batches: each step sees the intents and examples that it sees on a CPU;
* resumed: stopped twice and resumed, it ends with the same bytes;
* captured: replayed as a CUDA graph, it ends with the same bytes as kernel by kernel;
* near the CPU: its first evaluation is that of a CPU but for rounding, and its first losses are near;
* pack: a seed of a pack has the losses that it has alone but for rounding.

Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from pipeline.errors import run_main
from pipeline.files import read_parquet
from pipeline.offsite.inputs import prepare
from pipeline.offsite.missing import chosen
from pipeline.params import Params, read_yaml
from pipeline.programs import make_family
from pipeline.programs.tables import read_split
from pipeline.templates import make_template
from pipeline.training import machine
from pipeline.training.batches import Batches
from pipeline.training.loop import Hooks, Interrupted
from pipeline.training.recipe import Recipe, RunId, recipe
from pipeline.training.run import FILES, Places, seeded_learner, train
from pipeline.training.stack import Stack
from pipeline.training.step import Step

STEPS, EVERY = 24, 8
STOPS = (1, 11)
# Rounding of float32, and what a few steps of Adam make of it: the first of them depend on the gradients' signs alone.
AT_ONCE, SOON = 1e-3, 5e-2


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", default="profiles/laptop.yaml")
    parser.add_argument("--only", action="append", default=[], help="a recipe such as addmod-meta_mlp; repeatable")
    args = parser.parse_args(argv)
    params, device = _short(args.settings), machine.prepare()
    print(f"torch {torch.__version__} on {machine.facts(device)['device']}")
    failed = 0
    for of in chosen(params, args.only):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as directory:
            for what, right in _checks(params, of, Path(directory), device):
                print(f"{'ok    ' if right else 'FAILED'} {of}: {what}", flush=True)
                failed += not right
        print(f"       {of}: {time.perf_counter() - started:.1f} s", flush=True)
    print(f"{failed} failed")
    return 1 if failed else 0


def _short(path: str) -> Params:
    """A profile's grid with a few steps, of a pack of two seeds."""
    values = read_yaml(path)
    values["grid"]["seeds"] = ["1-2"]
    values["ablations"]["families"] = []
    for section in values["training"].values():
        section.update(steps=STEPS, eval_every=EVERY, warmup=0)
    return Params.model_validate(values)


def _checks(params: Params, of: Recipe, root: Path, device: torch.device) -> Iterator[tuple[str, bool]]:
    """The checks of one recipe, each with its name."""
    alone, packed = RunId(of.study, of.name, 1), of.run(1)
    yield "batches", _same_batches(params, of, _inputs(params, of, root / "batches"), device)
    unbroken = _trained(params, alone, root / "unbroken")
    yield "resumed", _trained(params, alone, root / "resumed", STOPS) == unbroken
    if device.type == "cuda":
        with _environment("NEUROP_GRAPHS", "off"):
            yield "captured", _trained(params, alone, root / "launched") == unbroken
        with _environment("NEUROP_DEVICE", "cpu"):
            _trained(params, alone, root / "cpu")
        yield "near the CPU", _near(alone, root / "unbroken", alone, root / "cpu")
    _trained(params, packed, root / "pack")
    yield "pack", _near(alone, root / "unbroken", packed, root / "pack")


def _inputs(params: Params, of: Recipe, root: Path) -> Places:
    prepare(params, [of.family], Places(root))
    return Places(root)


def _trained(params: Params, run: RunId, root: Path, stops: tuple[int, ...] = ()) -> dict[str, bytes]:
    """Train a run, stopped after so many steps each time and resumed; returns its files."""
    places = _inputs(params, recipe(params, run.study, run.name), root)
    for stop in (*stops, STEPS + 1):
        with contextlib.suppress(Interrupted), contextlib.redirect_stderr(io.StringIO()):
            train(params, run, Hooks(stop=_after(stop)), places)
    return {name: (places.run(run) / name).read_bytes() for name in FILES}


def _after(steps: int) -> Callable[[], bool]:
    """True when it is asked for that many times, as training does after each step."""
    left = iter(range(steps - 1))
    return lambda: next(left, None) is None


def _same_batches(params: Params, of: Recipe, places: Places, device: torch.device) -> bool:
    """Whether the step looks up the same batches on the device as on a CPU, from within a chunk, too."""
    looked_up = []
    for where in (device, torch.device("cpu")):
        family = make_family(params, of.family)
        split = read_split(places.splits(of.family), family, "train").to(where)
        learner = seeded_learner(of.learner, family, make_template(params, of.family), of.settings, 0).to(where)
        u = torch.from_numpy(family.codes(split.intents)).to(where)
        streams = [Batches(0, split.counts.cpu().numpy(), of.training.batch, of.training.meta_batch)]
        step = Step(Stack([learner]), of.settings, of.training, streams, u, split)
        step(300)
        looked_up.append([tensor.cpu() for tensor in (step.place, step.intents, step.rows, step.x, step.y, step.u)])
    return all(map(torch.equal, *looked_up))


def _near(run: RunId, root: Path, other: RunId, other_root: Path) -> bool:
    """Whether two histories begin alike: the evaluation before the first step, then the first mean loss."""
    tables = [read_parquet(Places(r).run(i) / "history.parquet") for i, r in ((run, root), (other, other_root))]
    first, loss = ([table[name][row].as_py() for table in tables] for name, row in (("val_loss", 0), ("loss", 1)))
    return math.isclose(*first, rel_tol=AT_ONCE) and math.isclose(*loss, rel_tol=SOON)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


if __name__ == "__main__":
    run_main(main)
