"""Commands about programs and what trained runs learned."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline import params
from pipeline.commands.shared import NOT_ALL_RIGHT, chosen, writing
from pipeline.errors import UserError


def synthesize(args: argparse.Namespace) -> None:
    """Write the program file of an intent."""
    from pipeline.synthesis import synthesize as write

    program = write(chosen(args), args.intent)
    output = Path(f"{args.family}-{program.intent}.safetensors") if args.output is None else args.output
    with writing(output):
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


def analyze(args: argparse.Namespace) -> None:
    """Print what a trained run learned; with -o write tables and figures too."""
    from pipeline.analysis.analyse import analyse
    from pipeline.analysis.finding import write
    from pipeline.analysis.subject import load
    from pipeline.files import replacing_directory

    directory = chosen(args)
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
    with writing(output):
        write_text(output, drawing)
    print(f"{output}: {neural.n_nodes} nodes, {neural.n_weight_edges} weight edges, {template.n_slots} slots")
