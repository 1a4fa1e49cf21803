"""What is run on machines with a GPU, here on a CPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import gpu_checks
from tests.helpers import ROOT


def test_the_checks_pass_where_training_is_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert gpu_checks.main(["--only", "sumfirst-meta_mlp"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("ok")] == [
        f"ok     sumfirst/meta_mlp: {what}" for what in ("batches", "resumed", "pack")
    ]


def test_the_checks_fail_where_it_is_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gpu_checks, "_near", lambda *runs: False)
    assert gpu_checks.main(["--only", "sumfirst-meta_mlp"]) == 1
    assert "FAILED sumfirst/meta_mlp: pack" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["train", "9"], ["checks", "more"]], ids=str)
def test_the_script_says_how_it_is_called(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [str(ROOT / "benchmarks" / "gpu.sh"), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "benchmarks/gpu.sh train MINUTES OUT" in done.stderr
