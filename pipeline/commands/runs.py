"""Commands that train, here or elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline import params
from pipeline.commands.shared import FAILED, few, writing


def train(args: argparse.Namespace) -> int:
    """Train what is missing; exit code 75 if some of it still is when the time is up."""
    from pipeline.offsite import tables
    from pipeline.offsite.missing import missing
    from pipeline.offsite.register import register
    from pipeline.offsite.session import train_all
    from pipeline.training import machine
    from pipeline.training.run import Places
    from pipeline.training.stop import EXIT_TIME_IS_UP, Stop

    stop = Stop(None if args.minutes is None else 60 * args.minutes)
    settings, places, device = params.load(), Places(), machine.prepare()
    items = missing(settings, places, device, args.only)
    if args.dry_run:
        tables.listing(items, places)
        return 0
    outcome = train_all(items, stop, places)
    left = [item for item in items if not item.finished(places)]
    tables.summary(outcome, left, places)
    register(outcome.trained)
    if outcome.failed:
        return FAILED
    return stop.exit_code if stop.received else EXIT_TIME_IS_UP if left else 0


def flow(args: argparse.Namespace) -> int:
    """Run what is stale side by side; exit code 1 if a stage fails."""
    from pipeline.flows.plan import plan

    params.load()
    if args.dry_run:
        for stage in plan(args.targets):
            print(f"{stage.name}{f' after {few(list(stage.after))}' if stage.after else ''}")
        return 0
    from pipeline.flows.environment import prepare

    prepare()
    from pipeline.flows.prepared import prepared
    from pipeline.flows.process import log_file

    work = prepared(Path(), args.targets, args.workers, args.per_device, args.pool)
    if work.planned:
        from pipeline.flows.flow import reproduce

        reproduce(work, args.targets, args.retries)
    for name, why in work.board.failed:
        print(f"failed: {name}: {why} ({log_file(name)})")
    print(work.board.summary())
    return 0 if work.board.finished else FAILED


def worker(args: argparse.Namespace) -> None:
    """Take stages of a work pool until told to stop."""
    from pipeline.flows.worker import work

    params.load()
    work(args.pool, args.name, args.per_device, args.workers)


def head(args: argparse.Namespace) -> None:
    """Take scheduled flows until told to stop."""
    from pipeline.flows.worker import lead

    lead(args.name)


def deploy(args: argparse.Namespace) -> None:
    """Register what prefect.yaml schedules."""
    from pipeline.flows.deploy import deploy as register

    for name, schedule in register(args.names, args.pool, args.paused):
        print(f"neurop/{name}: {schedule}{' (paused)' if args.paused and schedule != 'when asked for' else ''}")


def bundle(args: argparse.Namespace) -> None:
    """Write what was trained here into files for another machine."""
    from pipeline.offsite.bundle import bundle as write

    with writing(args.output):
        for path in write(params.load(), args.output, args.only, args.max_mib, args.new):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def bring(args: argparse.Namespace) -> None:
    """Take over what bundles hold, and tell DVC."""
    from pipeline.offsite.bring import bring as take
    from pipeline.offsite.register import register

    brought = take(params.load(), args.files, args.replace)
    for item in brought.kept:
        print(f"{item.run.title} is here already with other bytes; kept as it is (--replace takes the bundle's)")
    counts = {"imported": brought.placed, "here already": brought.same, "kept": brought.kept}
    said = ", ".join(f"{len(items)} {name}" for name, items in counts.items())
    print(f"{said}; {brought.checkpoints} checkpoints imported")
    register([*brought.placed, *brought.same])
