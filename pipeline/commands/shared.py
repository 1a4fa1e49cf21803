"""What several commands need: where outputs go, which run is meant, and exit codes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import params
from pipeline.errors import UserError

NOT_ALL_RIGHT = FAILED = 1


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Write `output` within. Raises `UserError` if it is a directory or a device, or cannot be written."""
    # Outputs are renamed into their place, which would replace even a device such as /dev/stdout.
    try:
        if not output.name or (output.exists() and not output.is_file()):
            raise UserError(f"{output} is not a regular file; give another file with -o")
        yield
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror or error}); give another file with -o") from None


def chosen(args: argparse.Namespace) -> Path:
    """The directory of the run that `--learner`, `--seed` and `--kept` ask for."""
    from pipeline.kept import choose
    from pipeline.synthesis import choose_run
    from pipeline.training.run import Places

    if args.kept:
        return choose(args.family, args.learner)
    places = Places()
    return places.run(choose_run(params.load(), args.family, args.learner, args.seed, places))


def few(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:6])
    return shown + (f", … ({len(names) - 6} more)" if len(names) > 6 else "")
