"""What the commands share: errors of one line, and values that are checked where they enter."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from pipeline.errors import UserError

# Nothing trains for years; the limit keeps a slip of the keyboard from becoming a number that no clock takes.
LONGEST = 10**8


class Parser(argparse.ArgumentParser):
    """Raises `UserError` where the command line is wrong."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def seed(text: str) -> int:
    """A seed from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def count(text: str) -> int:
    """A number of things from the command line, 1 to 999."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 to 999")
    return int(text)


def duration(text: str) -> float:
    """A time from the command line, in the option's unit; 0 is the shortest."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) or float(text) > LONGEST:
        raise argparse.ArgumentTypeError(f"'{text}' is no time; give a number such as 25 or 0.5")
    return float(text)
