"""Errors that a person can act on leave one line and exit code 2; anything else stays a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import UserError, run_main


def ended_with(main: Callable[[list[str]], int | None]) -> int:
    with pytest.raises(SystemExit) as exit_:
        run_main(main)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_result_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program", "one", "two"])
    seen: list[str] = []
    assert ended_with(lambda argv: seen.extend(argv)) == 0
    assert seen == ["one", "two"]
    assert ended_with(lambda argv: 143) == 143


def test_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> None:
        raise UserError("the setting\n  is\twrong; change it")

    assert ended_with(main) == 2
    output = capsys.readouterr()
    assert output.err == "error: the setting is wrong; change it\n"
    assert output.out == ""


def test_system_error_names_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended_with(lambda argv: (tmp_path / "absent").open() and None) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'absent'}: No such file or directory\n"

    def full(argv: list[str]) -> None:
        raise OSError("no room")

    assert ended_with(full) == 2
    assert capsys.readouterr().err == "error: no room\n"


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_is_no_error(lines: int) -> None:
    """As under `| head`: whether the output was still waiting in a buffer or not."""
    program = (
        f"from pipeline.errors import run_main\nimport sys\nsys.stdin.read()\n"
        f"run_main(lambda argv: print('line\\n' * {lines}))"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdout.close()
        child.stdin.close()  # only now it writes
        assert child.stderr.read() == ""
    assert child.returncode == 141


def test_another_broken_pipe_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: list[str]) -> None:
        raise BrokenPipeError(32, "Broken pipe", "socket")

    assert ended_with(main) == 2
    assert capsys.readouterr().err == "error: socket: Broken pipe\n"


def test_a_bug_is_not_hidden() -> None:
    def main(argv: list[str]) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run_main(main)
