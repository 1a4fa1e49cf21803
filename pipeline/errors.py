"""Errors that a person can act on: one line, exit code 2, no traceback."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable

STDOUT = 1
EXIT_USER_ERROR = 2
EXIT_READER_LEFT = 141  # as a shell says it of a program that SIGPIPE ended


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


def run_main(main: Callable[[list[str]], int | None]) -> None:
    """Run `main(argv)`; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
        sys.exit(code)
    except UserError as error:
        sys.exit(_report(str(error)))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            sys.exit(EXIT_READER_LEFT)
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_report(f"{where}{error.strerror or error}"))


def _report(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR


def _reader_left() -> bool:
    """Whether it is stdout that broke, as under `| head`; then Python's own flush at its end must not meet it again."""
    state = select.poll()
    state.register(STDOUT, 0)
    if not any(events & select.POLLERR for _, events in state.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return True
