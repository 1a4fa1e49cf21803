"""When training stops early: at a signal, or when its time is up."""

from __future__ import annotations

import math
import os
import signal
import time
from types import FrameType

# "Temporary failure": the same command goes on from the checkpoint.
EXIT_TIME_IS_UP = os.EX_TEMPFAIL


class Stop:
    """True from the first SIGTERM or SIGINT on, or once `seconds` have passed since now.

    A second SIGINT ends the process at once.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.end = math.inf if seconds is None else time.monotonic() + seconds
        self.received = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self) -> bool:
        return self.received != 0 or self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """Until the time is up; without a limit, infinity."""
        return self.end - time.monotonic()

    @property
    def exit_code(self) -> int:
        """What the process returns once it has stopped: 128 and the signal, or that its time is up."""
        return 128 + self.received if self.received else EXIT_TIME_IS_UP
