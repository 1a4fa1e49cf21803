"""Errors that a person can act on: one line, exit code 2, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

EXIT_USER_ERROR = 2


class UserError(Exception):
    """What is wrong, where, and what to do about it, in one line."""


def run_main(main: Callable[[list[str]], int | None]) -> None:
    """Run `main(argv)`; a `UserError` becomes one line on stderr and exit code 2."""
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as error:
        sys.exit(_report(str(error)))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_report(f"{where}{error.strerror or error}"))


def _report(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USER_ERROR
