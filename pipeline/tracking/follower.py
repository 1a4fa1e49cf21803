"""The training side of live curves: rows go down a pipe to a process of their own, and nothing ever waits for it."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.tracking import address

if TYPE_CHECKING:
    from pipeline.params import Params
    from pipeline.training.run import Places, RunId

# What the pipe holds while the other process is busy, where the system lets us choose (Linux): thousands of rows.
PIPE_BYTES = 1 << 20
# How long the end of training waits to hear whether anyone answers at the address; known long before, as a rule.
SECONDS_FOR_ANSWER = 1.0
LATER = "training goes on, and `neurop publish` completes the curves"


class Follower:
    """Streams the rows of a run, and of its pack, to MLflow from another process. Use as a context; it never fails and
    never waits.

    Args:
        run: a run that trains; with it train the others of its pack.
        params: the settings; read from the working directory if None.
        places: where inputs and outputs are; below the working directory if None.
    """

    def __init__(self, run: RunId, params: Params | None = None, places: Places | None = None) -> None:
        self.run, self.params, self.places = run, params, places
        self.process: subprocess.Popen[bytes] | None = None
        self._rows: IO[bytes] | None = None
        self._answers: IO[bytes] | None = None
        self._answered = self._said = False

    def __enter__(self) -> Follower:
        if not address.enabled():
            return self
        if importlib.util.find_spec("mlflow") is None:
            self._say("MLflow is not installed")
            return self
        try:
            header = self._header()
        except (UserError, OSError):
            return self  # wrong settings or missing inputs: training is about to say so itself
        try:
            self._start(header)
        except OSError as error:
            self._say(f"its process does not start ({error.strerror or error})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows is not None:
            self._rows.close()
        if self._answers is not None:
            if not self._answered:
                select.select([self._answers], [], [], SECONDS_FOR_ANSWER)
            self._listen(self._answers)
            self._answers.close()
        self._rows = self._answers = None

    def send(self, seed: int, row: dict[str, float]) -> None:
        """Pass on a seed's row of floats with the key `step`; it is dropped if the other side is gone or far behind."""
        if self._rows is None or self._answers is None:
            return
        self._listen(self._answers)
        line = json.dumps([seed, time.time(), row]).encode() + b"\n"
        try:
            # A short write to a pipe is whole or not at all, so a reader never meets half a row.
            if len(line) > select.PIPE_BUF or os.write(self._rows.fileno(), line) < len(line):
                self._say("a row is too long for its pipe")
        except BlockingIOError:
            self._say("MLflow is slow, so some rows are left out")
        except OSError:
            self._listen(self._answers)
            self._say("its process has ended")

    def _header(self) -> dict[str, Any]:
        """What the other process must know of the runs; computed here, so that it need not import PyTorch."""
        from pipeline import params
        from pipeline.tracking.describe import identity, settings
        from pipeline.training.run import Places, configuration

        run, places = self.run, self.places or Places()
        config = configuration(self.params or params.load(), run, places)
        runs = [
            {
                "seed": each.seed,
                "run": str(each),
                "identity": identity({**config, "seed": each.seed}),
                "outputs": str(places.run(each)),
                "log": str(places.log(each)),
            }
            for each in run.together
        ]
        return {
            "study": run.study,
            "name": run.name,
            "stage": run.stage,
            "group": identity(config, seed=False),
            "settings": settings(config),
            "started": time.time(),
            "runs": runs,
        }

    def _start(self, header: dict[str, Any]) -> None:
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        # Not this process's output and error streams: whoever reads those to their end must not wait for MLflow.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tracking", "follow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
        )
        rows, answers = self.process.stdin, self.process.stdout
        assert rows is not None
        assert answers is not None
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):  # where all pipes of a user may not hold more
                fcntl.fcntl(rows.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        rows.write(json.dumps(header).encode() + b"\n")
        for stream in (rows, answers):
            os.set_blocking(stream.fileno(), False)
        self._rows, self._answers = rows, answers

    def _listen(self, answers: IO[bytes]) -> None:
        """Hear the other process: an empty line when the address answers, a text when something is wrong."""
        for line in (answers.read() or b"").decode(errors="replace").splitlines():
            self._answered = True
            if line:
                self._say(line)

    def _say(self, text: str) -> None:
        if not self._said:
            print(f"tracking {self.run.title}: {text}; {LATER}", file=sys.stderr, flush=True)
        self._said = True
