"""A DVC project of seconds instead of hours: its training counts, keeps a checkpoint, and can refuse its settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

STAGES = """
stages:
  generate:
    cmd: python toy.py generate
    deps: [toy.py]
    outs: [data]
  train:
    matrix:
      family: [toy]
      learner: [m]
      seed: ${seeds}
    cmd: python toy.py train ${item.seed}
    deps: [toy.py, data]
    outs:
      - runs/${item.seed}
  report:
    cmd: python toy.py report
    deps: [toy.py, runs]
    params: [seeds]
    outs: [report.json]
"""

# Each step goes to a file as it is made, so that a run which is counted twice, or lost, shows.
PROGRAM = """
import fcntl, json, os, pathlib, sys, time

def replace(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".partial")
    part.write_text(text)
    os.replace(part, path)

def train(seed):
    scratch = pathlib.Path(".scratch") / seed
    scratch.mkdir(parents=True, exist_ok=True)
    lock = open(scratch / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("error: another process trains this run now", file=sys.stderr)
        sys.exit(2)
    if seed == "13":
        print("error: seed 13 is refused", file=sys.stderr)
        sys.exit(2)
    state = scratch / "checkpoint"
    sums = json.loads(state.read_text()) if state.exists() else []
    base = json.loads(pathlib.Path("data/x.json").read_text())["x"]
    steps = int(os.environ.get("TOY_STEPS", "10"))
    while len(sums) < steps:
        sums.append(base * int(seed) + len(sums))
        replace(state, json.dumps(sums))
        print(f"toy/m/{seed}  {len(sums)}/{steps}", flush=True)
        time.sleep(0.1)
    replace(pathlib.Path("runs") / seed / "sums.json", json.dumps(sums[:10]))

match sys.argv[1:]:
    case ["generate"]:
        replace(pathlib.Path("data/x.json"), json.dumps({"x": 7}))
    case ["train", seed]:
        train(seed)
    case ["report"]:
        runs = sorted(pathlib.Path("runs").iterdir(), key=lambda path: int(path.name))
        sums = {run.name: json.loads((run / "sums.json").read_text()) for run in runs}
        replace(pathlib.Path("report.json"), json.dumps(sums))
"""

FLOW = """
import sys
from pathlib import Path
from pipeline.errors import run_main
from pipeline.flows.environment import prepare

def main(argv):
    prepare()
    from pipeline.flows.flow import reproduce
    from pipeline.flows.prepared import prepared
    work = prepared(Path(), [], 2, 1, argv[0] if argv else None)
    board = reproduce(work, [], 2)
    for row in board.rows():
        print(row["stage"], row["state"], row["note"])
    return 0 if board.finished else 1

run_main(main)
"""

WORKER = """
import sys
from pipeline.errors import run_main
from pipeline.flows.worker import work
run_main(lambda argv: work(argv[0], argv[1], workers=2))
"""

# A `sitecustomize` with which Prefect, in each of its processes that finds it, reads a clock that is wrong. The
# function gets another body and stays the same object, for by then other modules have it.
CLOCK = """
import sys
if not {{"dvc", "toy.py", "pipeline.flows.exchange"}} & set(sys.orig_argv):
    from types import FunctionType
    from prefect.types import _datetime
    right = _datetime.now
    _datetime.right = FunctionType(right.__code__, right.__globals__, argdefs=right.__defaults__)
    def now(tz="UTC"):
        return right(tz) + datetime.timedelta(hours={hours})
    _datetime.now.__code__ = now.__code__
"""


def environment(**more: str) -> dict[str, str]:
    """What the project's processes run with."""
    here = str(Path(sys.executable).parent)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "NEUROP_", "MLFLOW_"))}
    return {
        **kept,
        "PATH": here + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "NEUROP_DEVICE": "cpu",
        "NEUROP_TRACKING": "off",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **more,
    }


def make(root: Path, seeds: Sequence[int]) -> Path:
    """The project in a Git repository of its own."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text(STAGES)
    (root / "toy.py").write_text(PROGRAM)
    (root / "params.yaml").write_text(f"seeds: {list(seeds)}\n")
    (root / ".gitignore").write_text("/data\n/runs\n/report.json\n/.scratch\n/logs\n*.partial\n")
    (root / ".dvcignore").write_text(".scratch\nlogs\n")
    commit_all(root)
    return root


def commit_all(root: Path) -> None:
    """Make a folder a Git repository with DVC in it, all of it committed."""
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").touch()
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "toy")


def clone(root: Path, place: Path, remote: str, **options: str) -> Path:
    """A clone with a default DVC remote."""
    git(root, "clone", "-q", str(root), str(place))
    set_remote(place, remote, **options)
    return place


def set_remote(place: Path, remote: str, **options: str) -> None:
    """Give a clone its default DVC remote, as `dvc remote add --local` writes it."""
    lines = [f"    {key} = {value}\n" for key, value in {"url": remote, **options}.items()]
    text = "[core]\n    remote = shared\n['remote \"shared\"']\n" + "".join(lines)
    (place / ".dvc" / "config.local").write_text(text)


def wrong_clock(folder: Path, hours: int) -> dict[str, str]:
    """The environment of a machine whose clock is so many hours ahead."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK.format(hours=hours))
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def git(root: Path, *arguments: str) -> str:
    """Run git."""
    names = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
    return call(root, "git", *names, *arguments)


def dvc(root: Path, *arguments: str) -> str:
    """Run DVC."""
    return call(root, sys.executable, "-m", "dvc", *arguments)


def call(root: Path, *command: str, code: int = 0, **more: str) -> str:
    """Run a command to its end; returns what it printed, errors last."""
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, env=environment(**more), check=False, timeout=240
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def start(root: Path, log: Path, *command: str, **more: str) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; its output goes to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command, cwd=root, stdout=file, stderr=file, env=environment(**more), start_new_session=True
        )


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """End a process and its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)


def until(true: Callable[[], T], what: str, seconds: float = 120) -> T:
    """Wait until something is true and return it; fails with what that was."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s until {what}"
        time.sleep(0.2)
    return found


def processes(root: Path, words: str) -> list[int]:
    """Processes that work in a directory and whose command line holds some words."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words in command and (path / "cwd").resolve().is_relative_to(root):
                    found.append(int(path.name))
    return found


def kill(pid: int) -> None:
    """kill -9, if it still is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def expected(seeds: Sequence[int]) -> dict[str, list[int]]:
    """What the report must hold in the end."""
    return {str(seed): [7 * seed + step for step in range(10)] for seed in sorted(seeds)}
