"""The command `neurop`: programs from intents, and what there is to know about settings and runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import params
from pipeline.command_line import Parser, count, duration, seed
from pipeline.errors import UserError, run_main

NOT_ALL_RIGHT = FAILED = 1


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Write `output` within. Raises `UserError` if it is a directory or a device, or cannot be written."""
    # Outputs are renamed into their place, which would replace even a device such as /dev/stdout.
    try:
        if not output.name or (output.exists() and not output.is_file()):
            raise UserError(f"{output} is not a regular file; give another file with -o")
        yield
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror or error}); give another file with -o") from None


def _chosen(args: argparse.Namespace) -> Path:
    """The directory of the run that `--learner`, `--seed` and `--kept` ask for."""
    from pipeline.kept import choose
    from pipeline.synthesis import choose_run
    from pipeline.training.run import Places

    if args.kept:
        return choose(args.family, args.learner)
    places = Places()
    return places.run(choose_run(params.load(), args.family, args.learner, args.seed, places))


def synthesize(args: argparse.Namespace) -> None:
    """Write the program file of an intent."""
    from pipeline.synthesis import synthesize as write

    program = write(_chosen(args), args.intent)
    output = Path(f"{args.family}-{program.intent}.safetensors") if args.output is None else args.output
    with _writing(output):
        program.save(output)
    source = f"{args.family}/{program.source['learner']}/{program.source['seed']}"
    print(f"{output}: {args.family} {program.intent}, {program.template.n_slots} weights written by {source}")


def run(args: argparse.Namespace) -> None:
    """Print a program's answer to one input."""
    import numpy as np

    from pipeline.synthesis import load_program

    program = load_program(args.file)
    x = program.family.parse_input(program.intent, args.input)
    answer = program.answers(np.asarray(x)[None])[0]
    print("".join(map(str, answer)) if len(answer) > 1 else answer[0])


def verify(args: argparse.Namespace) -> int:
    """Check a program on all its inputs, or on fresh ones, and certify it; exit code 1 if any is wrong."""
    import numpy as np

    from pipeline.analysis.certified import check
    from pipeline.analysis.verdict import lines
    from pipeline.synthesis import load_program

    program = load_program(args.file)
    solved, checked, exhaustive = program.verify(np.random.default_rng(args.seed))
    what = "all inputs there are" if exhaustive else f"fresh random inputs (seed {args.seed})"
    verdict = "verified" if solved == checked else "not verified"
    share = f"{solved} of {checked} right ({solved / checked:.4f})"
    print(f"{verdict}: {share}, {what} of {program.family.name} {program.intent}")
    print(*lines(check(program, np.random.default_rng(args.seed))), sep="\n")
    return 0 if solved == checked else NOT_ALL_RIGHT


def graph(args: argparse.Namespace) -> None:
    """Draw a template's neural graph."""
    from pipeline.files import write_text
    from pipeline.graph import from_template
    from pipeline.graph.draw import draw
    from pipeline.graph.views import tables
    from pipeline.templates import make_template

    template = make_template(params.load(), args.family)
    neural = from_template(template)
    output = Path(f"{args.family}.svg") if args.output is None else args.output
    drawing = draw(neural, tables(neural, template), f"Neural graph of the {args.family} template")
    with _writing(output):
        write_text(output, drawing)
    print(f"{output}: {neural.n_nodes} nodes, {neural.n_weight_edges} weight edges, {template.n_slots} slots")


def explain(args: argparse.Namespace) -> None:
    """Print what a setting means and what depends on it."""
    from pipeline.explain import setting

    params.load()
    found = setting(args.name)
    print(f"{args.name} = {found['value']}")
    print(f"  {found['meaning']}")
    if found["comment"]:
        print(f"  {found['comment']}")
    own, behind = found["stages"], found["downstream"]
    print(
        f"  a change reruns {len(own)} stages: {_few(own)}"
        if own
        else "  no stage depends on its value; it shapes the grid"
    )
    if behind:
        print(f"  and, where their inputs change, {len(behind)} behind them: {_few(behind)}")


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return shown + (f", … ({len(names) - 6} more)" if len(names) > 6 else "")


def status(args: argparse.Namespace) -> None:
    """Print the stages that are not fresh, and why."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.explain import stages

    params.load()
    rows = stages()
    table = Table("stage", "state", "why")
    for name, state, why in rows:
        if args.all or state != "fresh":
            table.add_row(name, state, why)
    console = Console(width=None if sys.stdout.isatty() else 160)
    if table.row_count:
        console.print(table)
    counts = {state: sum(row[1] == state for row in rows) for state in ("fresh", "stale", "missing")}
    print(", ".join(f"{count} {state}" for state, count in counts.items()))


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


def bundle(args: argparse.Namespace) -> None:
    """Write what was trained here into files for another machine."""
    from pipeline.offsite.bundle import bundle as write

    with _writing(args.output):
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


def analyze(args: argparse.Namespace) -> None:
    """Print what a trained run learned; with -o write tables and figures too."""
    from pipeline.analysis.analyse import analyse
    from pipeline.analysis.finding import write
    from pipeline.analysis.subject import load
    from pipeline.files import replacing_directory

    directory = _chosen(args)
    subject = load(directory)
    if subject is None:
        raise UserError(f"{args.learner} is a direct baseline and writes no weights; name a meta-learner")
    if args.output is not None and args.output.exists():
        raise UserError(f"{args.output} exists already; give another directory with -o")
    findings = analyse(subject)
    print(f"{args.family}, {subject.name}, {len(subject.intents)} intents")
    for finding in findings:
        print("\n".join(["", finding.title, *(f"  {sentence}" for sentence in finding.text)]))
    if args.output is not None:
        with replacing_directory(args.output) as temporary:
            for finding in findings:
                write(temporary / finding.name, finding)
        print(f"\n{args.output}: tables and figures")


def flow(args: argparse.Namespace) -> int:
    """Run what is stale side by side; exit code 1 if a stage fails."""
    from pipeline.flows.plan import plan

    params.load()
    if args.dry_run:
        for stage in plan(args.targets):
            print(f"{stage.name}{f' after {_few(list(stage.after))}' if stage.after else ''}")
        return 0
    from pipeline.flows.environment import prepare

    prepare()
    from pipeline.flows.flow import reproduce
    from pipeline.flows.process import log_file

    board = reproduce(args.targets, args.workers, args.per_device, args.retries)
    for name, why in board.failed:
        print(f"failed: {name}: {why} ({log_file(name)})")
    print(board.summary())
    return 0 if board.finished else FAILED


def report(args: argparse.Namespace) -> int:
    """Make a report, or compare it with what its evaluations give."""
    from pipeline.report import REPORTS, build, check

    source, output = REPORTS[args.source]
    if not args.check:
        build(source(), output)
        print(f"{output}/index.html")
        return 0
    found = check(source(), output)
    for name in found:
        print(f"differs: {output / name}")
    print(f"{output}: {'regenerated to the same bytes' if not found else f'{len(found)} files differ'}")
    return 0 if not found else NOT_ALL_RIGHT


def publish(args: argparse.Namespace) -> None:
    """Complete the MLflow record."""
    from pipeline.tracking import publish as complete

    complete(params.load(), Path())


def record(args: argparse.Namespace) -> None:
    """Keep evaluations of the full protocol in Git."""
    from pipeline.paper import RESULTS
    from pipeline.record import record as keep

    added = keep(params.load())
    print(f"{RESULTS}: {len(added)} runs added or replaced: {_few(added)}")


def _choice(made: argparse.ArgumentParser) -> None:
    """The arguments that `_chosen` reads."""
    made.add_argument("--learner", help="default: the meta-learner with the best val accuracy")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--seed", type=seed, help="default: the seed with the best val accuracy")
    which.add_argument(
        "--kept", action="store_true", help="use the full protocol's weights in results/paper/, not your runs'"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = Parser(prog="neurop", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str, action: Callable[[argparse.Namespace], int | None], about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(action=action)
        return made

    made = command("synthesize", synthesize, "write the program of an intent with a trained meta-learner")
    made.add_argument("family", choices=params.FAMILIES)
    made.add_argument("intent", help="addmod: p; sumfirst: n; arc1d: fill, flip, hollow, move_right:D, recolor_bar:C")
    made.add_argument("-o", "--output", type=Path, help="file to write (default: FAMILY-INTENT.safetensors)")
    _choice(made)

    made = command("run", run, "run a program on one input")
    made.add_argument("file", type=Path)
    made.add_argument("input", nargs="+", help="addmod: a b; sumfirst: ten integers; arc1d: a row of digits")

    made = command("verify", verify, "check a program: every input where that is possible, else fresh ones")
    made.add_argument("file", type=Path)
    made.add_argument("--seed", type=seed, default=0, help="of the fresh inputs")

    made = command("analyze", analyze, "say what a trained run learned: geometry, mechanism, closed form, certificates")
    made.add_argument("family", choices=params.FAMILIES)
    made.add_argument("-o", "--output", type=Path, help="a new directory for tables and figures")
    _choice(made)

    made = command("graph", graph, "draw the neural graph of a family's template")
    made.add_argument("family", choices=params.FAMILIES)
    made.add_argument("-o", "--output", type=Path, help="file to write (default: FAMILY.svg)")

    made = command("params", explain, "explain a setting and what reruns when it changes")
    made.add_argument("name", help="dotted, such as learners.addmod.meta_mlp.learning_rate")

    made = command("status", status, "which runs exist, which are stale, and why")
    made.add_argument("--all", action="store_true", help="list fresh stages too")

    made = command("train", train, "train the runs of params.yaml that are missing, most wanted first, without DVC")
    made.add_argument("--missing", action="store_true", required=True, help="what to train; there is no other choice")
    made.add_argument("--minutes", type=duration, help="stop then, with a checkpoint (default: when all is trained)")
    made.add_argument(
        "--only", action="append", default=[], metavar="RECIPE", help="such as addmod-meta_mlp; repeatable"
    )
    made.add_argument("--dry-run", action="store_true", help="list them in their order and train nothing")

    made = command("flow", flow, "run what is stale side by side, as a Prefect flow")
    made.add_argument("targets", nargs="*", help="stages or groups, such as evaluate (default: all)")
    made.add_argument("--workers", type=count, help="training stages at a time without a GPU (default: one a core)")
    made.add_argument("--per-device", type=count, default=1, help="training stages that may share one GPU")
    made.add_argument("--retries", type=int, choices=range(4), default=1, help="of a stage that crashed")
    made.add_argument("--dry-run", action="store_true", help="list the stages in their order and run nothing")

    made = command("bundle", bundle, "write finished runs and checkpoints into a file for another machine")
    made.add_argument("output", type=Path, help="such as out.zip")
    made.add_argument("--only", action="append", default=[], metavar="NAME", help="a recipe such as addmod-meta_mlp")
    made.add_argument("--max-mib", type=duration, help="write out-1.zip, out-2.zip, … no larger than this")
    made.add_argument("--new", action="store_true", help="only what no earlier bundle of this directory holds")

    made = command("import", bring, "take over the runs of bundles, checked, so that dvc repro does not train them")
    made.add_argument("files", type=Path, nargs="+", help="bundles; all parts of a pack at once")
    made.add_argument("--replace", action="store_true", help="runs that are here with other bytes, too")

    made = command("report", report, "make the report from the evaluations")
    made.add_argument("source", nargs="?", default="current", choices=("current", "paper"))
    made.add_argument("--check", action="store_true", help="regenerate and compare every byte, writing nothing")

    command("record", record, "keep evaluations made under profiles/paper.yaml in results/paper/, in Git")

    command("publish", publish, "complete the MLflow record from the outputs")
    return top


def main(argv: list[str]) -> int | None:
    """Run one command; returns its exit code."""
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    args = parser().parse_args(argv)
    code: int | None = args.action(args)
    return code


def script() -> None:
    """Entry point of the installed command."""
    run_main(main)


__all__ = ["UserError", "main", "script"]
