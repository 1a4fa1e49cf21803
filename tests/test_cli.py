"""The command `neurop` and the stages' arguments: programs, settings, results kept, and errors of one line."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipeline.analysis.analyse import ANALYSES
from pipeline.analysis.finding import read
from pipeline.cli import main
from pipeline.errors import UserError, run_main
from pipeline.params import read_yaml
from pipeline.record import record
from pipeline.synthesis import load_program
from pipeline.training.run import Places, RunId
from tests.helpers import ROOT, changed, make, paper_values, tiny, tiny_values, write_params

Neurop = Callable[..., tuple[int, str, str]]


@pytest.fixture
def neurop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Neurop:
    """Run the command; returns exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["neurop", *arguments])
        with pytest.raises(SystemExit) as exit_:
            run_main(main)
        output = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, output.out, output.err

    return call


@pytest.fixture
def here(trained: tuple[Places, RunId], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with tiny settings and one trained run, sumfirst/meta_mlp/3."""
    root = tmp_path / "here"
    shutil.copytree(trained[0].root, root)
    write_params(root / "params.yaml", tiny_values())
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def program(here: Path, neurop: Neurop) -> Path:
    """The program of sumfirst n = 4 that the trained run writes."""
    assert neurop("synthesize", "sumfirst", "4", "--seed", "3", "-o", "four.safetensors")[0] == 0
    return here / "four.safetensors"


def refused(result: tuple[int, str, str], *words: str) -> None:
    """Exit code 2, nothing on stdout, one line on stderr that holds the words."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_synthesised_program_is_what_the_run_generates(program: Path) -> None:
    loaded = load_program(program)
    assert (loaded.family.name, str(loaded.intent)) == ("sumfirst", "n=4")
    assert (loaded.source["learner"], loaded.source["seed"]) == ("meta_mlp", 3)
    x = [[1, -2, 0, 2, 1], [0, 0, 0, 0, 0]]
    values = torch.tensor([x], dtype=torch.float32)
    expected = loaded.template.forward(loaded.theta, values).round().long()[0].tolist()
    assert loaded.answers(torch.tensor(x).numpy()).tolist() == expected
    assert stat.S_IMODE(program.stat().st_mode) & 0o044 == 0o044 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_synthesize_says_what_it_wrote_and_names_the_file(here: Path, neurop: Neurop) -> None:
    code, out, _ = neurop("synthesize", "sumfirst", "n=4", "--seed", "3", "--learner", "meta_mlp")
    assert code == 0
    assert out == "sumfirst-n=4.safetensors: sumfirst n=4, 43 weights written by sumfirst/meta_mlp/3\n"
    assert (here / "sumfirst-n=4.safetensors").exists()


def test_run_prints_the_answer(program: Path, neurop: Neurop) -> None:
    code, out, _ = neurop("run", str(program), "1", "-2", "0", "2", "1")
    assert code == 0
    expected = load_program(program).answers(torch.tensor([[1, -2, 0, 2, 1]]).numpy())[0, 0]
    assert out == f"{expected}\n"


def exact_sum(path: Path, n: int) -> Path:
    """A copy of the program whose weights sum the first n numbers."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
        theta = {name: torch.zeros_like(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    theta["W_0"][:n, 0], theta["W_0"][:n, 1] = 1.0, -1.0
    theta["W_1"][0], theta["W_1"][1] = 1.0, -1.0
    copy = path.with_name("exact.safetensors")
    save_file(theta, copy, about)
    return copy


def test_verify_tries_all_inputs_and_exits_0_only_if_all_are_right(program: Path, neurop: Neurop) -> None:
    code, out, _ = neurop("verify", str(exact_sum(program, 4)))
    verdict, certificate, *rounding = out.splitlines()
    assert (code, verdict) == (0, "verified: 3125 of 3125 right (1.0000), all inputs there are of sumfirst n=4")
    assert certificate.startswith("margin 0.5 over all 3,125 inputs; no answer changes while the weights move less")
    assert [line.split(";")[1] for line in rounding] == [" in fact 0 of 3,125 answers change"] * 2
    assert all("moves them by 0: covered" in line for line in rounding)
    code, out, _ = neurop("verify", str(exact_sum(program, 3)))
    assert code == 1
    assert out.startswith("not verified: 625 of 3125 right (0.2000)")
    assert "none of the 625 right answers changes while" in out


def test_verify_certifies_nothing_of_weights_that_are_not_numbers(program: Path, neurop: Neurop) -> None:
    path = exact_sum(program, 4)
    with safe_open(path, "pt") as file:
        about, theta = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    theta["b_0"][0] = torch.nan
    save_file(theta, path, about)
    code, out, _ = neurop("verify", str(path))
    assert (code, out.splitlines()[1:]) == (1, ["no certificate: some weights are not finite"])


def test_analyze_prints_every_finding_and_writes_it_where_asked(here: Path, neurop: Neurop) -> None:
    code, out, _ = neurop("analyze", "sumfirst", "--seed", "3", "-o", "found")
    assert code == 0
    assert out.startswith("sumfirst, meta_mlp seed 3, ")
    for name, (title, _) in ANALYSES.items():
        finding = read(here / "found" / name)
        assert title in out
        assert all(sentence in out for sentence in finding.text)
    refused(neurop("analyze", "sumfirst", "--seed", "3", "-o", "found"), "found exists already", "-o")
    refused(neurop("analyze", "addmod"), "no trained run of addmod")


def test_graph_draws_the_template(here: Path, neurop: Neurop) -> None:
    code, out, _ = neurop("graph", "sumfirst", "-o", "new/drawing.svg")
    assert code == 0
    assert "43 slots" in out
    assert (here / "new/drawing.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("required",)),
        (("fly",), ("invalid choice: 'fly'",)),
        (("synthesize", "nope", "4"), ("invalid choice: 'nope'",)),
        (("synthesize", "sumfirst", "6", "--seed", "3"), ("no intent '6'", "1 to 5")),
        (("synthesize", "sumfirst", "-1", "--seed", "3"), ("no intent '-1'",)),
        (("synthesize", "sumfirst", "9" * 5000, "--seed", "3"), ("no intent '99999999999999999999…'",)),
        (("synthesize", "sumfirst", "4", "--seed", "-1"), ("--seed", "'-1' is not a whole number")),
        (("synthesize", "sumfirst", "4", "--seed", "4"), ("no trained run of sumfirst/any meta-learner/4",)),
        (("synthesize", "sumfirst", "4", "--learner", "nope"), ("no learner 'nope'",)),
        (("synthesize", "sumfirst", "4", "--learner", ""), ("no learner ''",)),
        (("run", "absent.safetensors", "1"), ("absent.safetensors does not exist", "neurop synthesize")),
        (("run", "params.yaml", "1"), ("params.yaml is not a program",)),
        (("verify", ".", "--seed", "-1"), ("--seed",)),
        (("params", "grid.nope"), ("no setting grid.nope", "families, learners, seeds")),
        (("params", "grid.seeds.0"), ("no setting grid.seeds.0",)),
    ],
)
def test_wrong_arguments_are_one_line(
    here: Path, neurop: Neurop, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = sorted(here.iterdir())
    refused(neurop(*arguments), *words)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("output", ["", ".", "/", "data", "params.yaml/x", "a" * 300])
@pytest.mark.parametrize("command", [("synthesize", "sumfirst", "4", "--seed", "3"), ("graph", "sumfirst")])
def test_an_output_that_cannot_be_written_is_one_line(
    here: Path, neurop: Neurop, command: tuple[str, ...], output: str
) -> None:
    before = sorted(here.rglob("*"))
    refused(neurop(*command, "-o", output), "give another", "-o")
    assert sorted(here.rglob("*")) == before


def test_an_output_never_replaces_what_is_no_regular_file(here: Path, neurop: Neurop) -> None:
    """As root, a rename would replace a device. A FIFO stands in for one."""
    os.mkfifo("pipe")
    refused(neurop("graph", "sumfirst", "-o", "pipe"), "pipe is not a regular file")
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_full_disk_is_one_line_and_keeps_the_old_program(
    program: Path, neurop: Neurop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = program.read_bytes()

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = neurop("synthesize", "sumfirst", "4", "--seed", "3", "-o", "four.safetensors")
    refused(result, "four.safetensors cannot be written (No space left on device)")
    assert program.read_bytes() == before
    assert not list(program.parent.glob(".*partial"))


@pytest.mark.parametrize("words", [("1",), ("1", "2", "3", "4", "x"), ("1.5", "0", "0", "0", "0"), ("9" * 30,) * 5])
def test_a_wrong_input_is_one_line(program: Path, neurop: Neurop, words: tuple[str, ...]) -> None:
    refused(neurop("run", str(program), *words), "expected 5 integers")


@pytest.mark.parametrize(
    "changes",
    [
        {"intent": ["n", -1]},
        {"intent": ["n", 99]},
        {"intent": ["zzz", 4]},
        {"intent": ["n", 10**30]},
        {"intent": "n"},
        {"source": None},
        {"family": "addmod"},
        {"template": None},
        {"program": {**tiny_values()["programs"]["sumfirst"], "length": 6}},
    ],
)
def test_a_tampered_program_is_refused(program: Path, neurop: Neurop, changes: dict[str, Any]) -> None:
    with safe_open(program, "pt") as file:
        about = json.loads(file.metadata()["neurop"]) | changes
        theta = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(theta, program, {"neurop": json.dumps(about)})
    for command in (("verify", str(program)), ("run", str(program), "1", "1", "1", "1", "1")):
        refused(neurop(*command), str(program))


@pytest.mark.parametrize("changes", [{"n_out": 2}, {"n_out": -1}, {"n_out": "x"}, {"n_ctx": 1}])
def test_a_template_that_does_not_fit_its_family_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    learner = make(tiny(), "addmod", "meta_mlp")
    settings, path = tiny_values()["programs"]["addmod"], tmp_path / "program.safetensors"
    about = {"family": "addmod", "program": settings, "intent": ["p", 7], "source": {}}
    template: Any = learner.template  # type: ignore[attr-defined]
    theta = {tensor.name: torch.zeros(tensor.shape) for tensor in template.tensors}
    save_file(theta, path, {"neurop": json.dumps(about | {"template": template.spec()})})
    assert str(load_program(path).intent) == "p=7"
    save_file(theta, path, {"neurop": json.dumps(about | {"template": template.spec() | changes})})
    with pytest.raises(UserError, match="is not a program"):
        load_program(path)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_truncated_program_is_refused(program: Path, neurop: Neurop, size: int) -> None:
    program.write_bytes(program.read_bytes()[:size])
    refused(neurop("verify", str(program)), f"{program} is not a program")


def test_params_explains_a_setting_and_what_reruns(neurop: Neurop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, out, _ = neurop("params", "learners.addmod.meta_mlp.learning_rate")
    assert code == 0
    assert out.startswith("learners.addmod.meta_mlp.learning_rate = ")
    assert "train@addmod-meta_mlp-0" in out
    assert "evaluate@addmod-meta_mlp" in out
    assert "direct" not in out
    code, out, _ = neurop("params", "ablations.variants.avg_norm.use_norm")
    assert code == 0
    assert "What one ablated meta_gnn has otherwise" in out
    assert "ablate@addmod-avg_norm-0" in out
    assert "ablate@addmod-avg-0" not in out
    assert "evaluate_ablations@addmod" in out
    code, out, _ = neurop("params", "learners.arc1d.meta_gnn.relations")
    assert code == 0
    assert out.startswith("learners.arc1d.meta_gnn.relations = []")  # left out in the file
    assert "train@arc1d-meta_gnn-0" in out


@pytest.mark.parametrize(
    ("stage", "argv"),
    [
        ("generate", []),
        ("generate", ["nope"]),
        ("graph", ["nope"]),
        ("graph", ["../.."]),
        ("graph", ["addmod", "arc1d"]),
        ("evaluate", ["addmod"]),
        ("evaluate", ["addmod", "../meta_mlp"]),
        ("evaluate", ["ablations-addmod", "avg"]),
        ("evaluate_ablations", ["../.."]),
        ("evaluate_ablations", ["ablations-addmod"]),
        ("train", []),
        ("train", ["addmod", "nope", "0"]),
        ("train", ["addmod", "meta_mlp", "-1"]),
        ("train", ["addmod", "meta_mlp", "9-0"]),
        ("train", ["addmod", "meta_mlp", "a-b"]),
        ("train", ["addmod", "meta_mlp", "0-3/.."]),
        ("train", ["addmod", "nope", "0-3"]),
        ("train", ["ablations-addmod", "meta_mlp", "0"]),
        ("train", ["ablations-addmod", "../avg", "0"]),
        ("train", ["ablations-../..", "avg", "0"]),
        ("analyze", []),
        ("analyze", ["../.."]),
        ("analyze_paper", ["addmod"]),
        ("report", ["../.."]),
    ],
)
def test_a_stage_refuses_wrong_arguments_and_touches_nothing(here: Path, stage: str, argv: list[str]) -> None:
    """Outputs replace whole directories: a name with .. in it once took the working directory away."""
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError):
        importlib.import_module(f"stages.{stage}").main(argv)
    assert sorted(here.rglob("*")) == before


def git(root: Path, *arguments: str) -> None:
    about = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    subprocess.run(["git", "-C", str(root), *about, *arguments], check=True, capture_output=True)


@pytest.fixture
def evaluated(here: Path) -> Path:
    """The working directory with its run as the one seed of the grid, evaluated."""
    (here / "profiles").mkdir()
    values = tiny_values()
    values["grid"] = {"families": ["sumfirst"], "learners": ["meta_mlp"], "seeds": [3]}
    write_params(here / "params.yaml", values)
    write_params(here / "profiles" / "paper.yaml", values)
    importlib.import_module("stages.generate").main(["sumfirst"])
    importlib.import_module("stages.graph").main(["sumfirst"])
    importlib.import_module("stages.evaluate").main(["sumfirst", "meta_mlp"])
    return here


def test_record_keeps_runs_of_the_profile_with_their_commit(evaluated: Path, neurop: Neurop) -> None:
    git(evaluated, "init", "-q")
    git(evaluated, "commit", "-q", "--allow-empty", "-m", "one")
    code, out, _ = neurop("record")
    assert (code, out) == (0, "results/paper: 1 runs added or replaced: sumfirst/meta_mlp/3\n")
    kept = evaluated / "results/paper/evaluations/sumfirst/meta_mlp"
    (run,) = json.loads((kept / "runs.json").read_text())
    assert run["provenance"]["command"] == "python -m stages.train sumfirst meta_mlp 3"
    assert len(run["provenance"]["commit"].split()[0]) == 12
    source = evaluated / "data/evaluations/sumfirst/meta_mlp/accuracy.csv"
    assert (kept / "accuracy.csv").read_text() == source.read_text()
    before = (kept / "runs.json").read_bytes()
    assert neurop("record")[0] == 0
    assert (kept / "runs.json").read_bytes() == before


def test_a_clone_synthesises_with_the_kept_weights(evaluated: Path, neurop: Neurop) -> None:
    refused(neurop("synthesize", "sumfirst", "2", "--kept"), "results/paper/weights holds no run of sumfirst")
    git(evaluated, "init", "-q")
    git(evaluated, "commit", "-q", "--allow-empty", "-m", "one")
    assert neurop("record")[0] == 0
    assert neurop("synthesize", "sumfirst", "2", "-o", "own.safetensors")[0] == 0
    shutil.rmtree("data")
    code, out, _ = neurop("synthesize", "sumfirst", "2", "-o", "kept.safetensors", "--kept")
    assert code == 0
    assert out.endswith("weights written by sumfirst/meta_mlp/3\n")
    assert Path("kept.safetensors").read_bytes() == Path("own.safetensors").read_bytes()
    refused(
        neurop("synthesize", "sumfirst", "2", "--kept", "--learner", "meta_gnn"), "holds no run of sumfirst/meta_gnn"
    )


def test_record_keeps_variants_as_the_profile_has_them(evaluated: Path, neurop: Neurop) -> None:
    values = changed(
        read_yaml("params.yaml"),
        {
            "ablations.families": ["sumfirst"],
            "ablations.rows": ["avg", "sum"],
            "ablations.seeds": [3],
            "ablations.training.steps": 2,
            "ablations.training.warmup": 0,
        },
    )
    write_params(evaluated / "params.yaml", values)
    for row in ("avg", "sum"):
        assert importlib.import_module("stages.train").main(["ablations-sumfirst", row, "3"]) == 0
    importlib.import_module("stages.evaluate_ablations").main(["sumfirst"])
    profile = changed(values, {"grid.learners": ["meta_gnn"], "ablations.variants.sum.use_norm": True})
    write_params(evaluated / "profiles" / "paper.yaml", profile)
    git(evaluated, "init", "-q")
    git(evaluated, "commit", "-q", "--allow-empty", "-m", "one")
    code, out, _ = neurop("record")
    assert code == 0
    assert out == "results/paper: 2 runs added or replaced: sumfirst/meta_mlp/3, ablations-sumfirst/avg/3\n"
    kept = evaluated / "results/paper/evaluations/ablations-sumfirst"
    assert [path.name for path in kept.iterdir()] == ["avg"]
    (run,) = json.loads((kept / "avg" / "runs.json").read_text())
    assert run["provenance"]["command"] == "python -m stages.train ablations-sumfirst avg 3"
    assert (evaluated / "results/paper/splits/sumfirst.json").exists()
    values["ablations"]["rows"], values["ablations"]["variants"]["more"] = ["avg", "more"], {"use_norm": True}
    write_params(evaluated / "params.yaml", values)
    shutil.copytree("data/evaluations/ablations-sumfirst/sum", "data/evaluations/ablations-sumfirst/more")
    shutil.copytree("data/runs/ablations-sumfirst/sum", "data/runs/ablations-sumfirst/more")
    assert "more" not in neurop("record")[1]


def test_record_takes_a_run_that_is_older_than_a_setting(evaluated: Path, neurop: Neurop) -> None:
    write_params(evaluated / "profiles" / "paper.yaml", read_yaml("params.yaml"))
    git(evaluated, "init", "-q")
    git(evaluated, "commit", "-q", "--allow-empty", "-m", "one")
    path = evaluated / "data/runs/sumfirst/meta_mlp/3/config.json"
    config = json.loads(path.read_text())
    assert config["settings"].pop("scale") == "linear"
    path.write_text(json.dumps(config))
    assert neurop("record")[1] == "results/paper: 1 runs added or replaced: sumfirst/meta_mlp/3\n"
    config["settings"]["scale"] = "log"
    path.write_text(json.dumps(config))
    refused(neurop("record"), "no evaluated run has the settings of profiles/paper.yaml")


def test_record_refuses_runs_of_other_settings(evaluated: Path, neurop: Neurop) -> None:
    write_params(evaluated / "profiles" / "paper.yaml", paper_values())
    refused(neurop("record"), "no evaluated run has the settings of profiles/paper.yaml")
    assert not (evaluated / "results").exists()


def test_record_needs_a_commit(evaluated: Path) -> None:
    git(evaluated, "init", "-q")
    settings = tiny({"grid.families": ["sumfirst"], "grid.learners": ["meta_mlp"], "grid.seeds": [3]})
    with pytest.raises(UserError, match="Git knows no commit"):
        record(settings)
    assert not (evaluated / "results").exists()
