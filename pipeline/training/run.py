"""One run, of the grid or of the ablations: from splits and template to weights on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline import templates
from pipeline.errors import UserError
from pipeline.files import digest, digest_files, read_json, remedy, replacing_directory, write_json, write_parquet
from pipeline.learners import Learner, count, make_learner
from pipeline.params import Params, learner_section
from pipeline.programs import family_from, make_family
from pipeline.programs.tables import digest_splits, read_split
from pipeline.training import batches, checkpoint, machine
from pipeline.training.loop import Hooks, Trainer
from pipeline.training.recipe import Recipe, RunId, recipe
from pipeline.training.selection import Row, Selection

__all__ = [
    "FILES",
    "Places",
    "RunId",
    "asked",
    "code_digest",
    "configuration",
    "history_table",
    "key",
    "load_run",
    "scratch_key",
    "seeded_learner",
    "shared",
    "train",
]

FILES = ("weights.safetensors", "last.safetensors", "history.parquet", "config.json")
# What training adds to a run's configuration when it writes it.
FOUND = ("parameters", "selected", "diverged")

CODE = ("files.py", "programs", "templates", "graph", "learners", "training")


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes, below the working directory by default."""

    root: Path = Path()

    def splits(self, family: str) -> Path:
        return self.root / "data" / "splits" / family

    def template(self, family: str) -> Path:
        return self.root / "data" / "graphs" / family / "template.json"

    def output(self, run: RunId) -> Path:
        """What DVC keeps of the runs that train together: of a single seed its own directory."""
        return self.root / "data" / "runs" / run.title

    def run(self, run: RunId) -> Path:
        """A seed's own directory: in a pack's output there is one for each seed."""
        return self.output(run) if run.item == str(run.seed) else self.output(run) / str(run.seed)

    def scratch(self, key: str) -> Path:
        return self.root / ".scratch" / key

    def log(self, run: RunId) -> Path:
        return self.root / "logs" / f"{str(run).replace('/', '-')}.json"


def configuration(params: Params, run: RunId, places: Places) -> dict[str, Any]:
    """Everything that determines a run's outputs but for code and machine."""
    of = recipe(params, run.study, run.name)
    family, splits = make_family(params, of.family), places.splits(of.family)
    return {
        "family": of.family,
        "learner": of.learner,
        "seed": run.seed,
        **of.values(),
        "template": read_json(places.template(of.family)),
        "data": digest_splits(read_split(splits, family, split) for split in ("train", "val")),
    }


def asked(config: dict[str, Any]) -> dict[str, Any]:
    """What determined a run, of the configuration that it wrote."""
    return {key: value for key, value in config.items() if key not in FOUND}


def train(
    params: Params,
    run: RunId,
    hooks: Hooks | None = None,
    places: Places | None = None,
) -> None:
    """Train a run, with all of its pack, and write each one's directory: weights, history, configuration.

    Raises `UserError` for wrong inputs and `Interrupted` when stopped early (a checkpoint is kept).
    """
    places = places or Places()
    device = machine.prepare()
    config = configuration(params, run, places)
    scratch = places.scratch(scratch_key(shared(config, run), device))
    with checkpoint.locked(scratch):
        trainer = _trainer(params, run, places, scratch, device)
        resumed = trainer.number
        trainer.run(run.title, hooks or Hooks())
        _write(places, run, config, trainer)
        seconds = round(trainer.seconds, 2)
        log = {**machine.facts(device), "seconds": seconds, "steps": trainer.number, "resumed": resumed}
        for each in run.together:
            write_json(places.log(each), {**log, "seeds": len(run.together)})
        trainer.finish()


def shared(config: dict[str, Any], run: RunId) -> dict[str, Any]:
    """The configuration of a run as that of all its pack: they have one checkpoint."""
    return config if len(run.together) == 1 else {**config, "seed": run.item}


def scratch_key(config: dict[str, Any], device: torch.device) -> str:
    """Digest of all that determines the bits of a run: settings, data, code, library, device, threads."""
    return key(config, machine.bits(device))


def key(config: dict[str, Any], bits: Sequence[str | int]) -> str:
    """The same for the `bits` of any machine (`machine.bits`)."""
    return digest([config, code_digest(), *bits])


def code_digest() -> str:
    """SHA-256 (hex, 16 characters) of all code that can change what training writes."""
    package = Path(__file__).parents[1]
    sources = [p for name in CODE for p in sorted((package / name).rglob("*.py"))]
    sources += [package / name for name in CODE if name.endswith(".py")]
    return digest_files(sources)


def _trainer(params: Params, run: RunId, places: Places, scratch: Path, device: torch.device) -> Trainer:
    of = recipe(params, run.study, run.name)
    family = make_family(params, of.family)
    path, splits = places.template(of.family), places.splits(of.family)
    template = templates.from_spec(read_json(path), str(path))
    learners = {
        each.seed: seeded_learner(of.learner, family, template, of.settings, each.seed).to(device)
        for each in run.together
    }
    _check_size(of, learners[run.seed])
    train_split, val_split = (read_split(splits, family, s).to(device) for s in ("train", "val"))
    empty = [intent for intent, n in zip(train_split.intents, train_split.counts.tolist(), strict=True) if n == 0]
    if empty:
        raise UserError(f"{splits}/train.parquet holds no example of {empty[0]}; ask for more examples")
    return Trainer(learners, of.settings, of.training, train_split, val_split, scratch)


def _check_size(of: Recipe, learner: Learner) -> None:
    """Refuse a learner that is larger than its study allows."""
    trainable = count(learner)["trainable"]
    if of.limit is not None and trainable > of.limit:
        raise UserError(
            f"ablations.variants.{of.name} gives {trainable} trainable parameters on {of.family}, "
            f"and ablations.limit is {of.limit}; lower d_h or width in ablations.settings"
        )


def seeded_learner(name: str, family: Any, template: templates.Template, section: Any, seed: int) -> Learner:
    """A learner whose initial parameters depend on the seed alone, and disturb no other generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(batches.torch_generator(seed, batches.INITIAL_PARAMETERS).initial_seed())
        return make_learner(name, family, template, section)


def _write(places: Places, run: RunId, config: dict[str, Any], trainer: Trainer) -> None:
    """Replace what DVC keeps of the runs that trained together."""
    output = places.output(run)
    with replacing_directory(output) as temporary:
        for each in run.together:
            directory = temporary / places.run(each).relative_to(output)
            directory.mkdir(exist_ok=True)
            _write_seed(directory, {**config, "seed": each.seed}, trainer.selections[each.seed])


def _write_seed(directory: Path, config: dict[str, Any], selection: Selection) -> None:
    progress = selection.progress
    found = {
        "parameters": count(selection.learner),
        "selected": {
            "step": progress.best_step,
            "val_accuracy": progress.best_accuracy,
            "val_loss": progress.best_loss,
        },
        "diverged": progress.diverged,
    }
    for name, state in (("weights", selection.best), ("last", selection.last)):
        save_file({key: value.cpu() for key, value in state.items()}, directory / f"{name}.safetensors")
    write_parquet(directory / "history.parquet", history_table(progress.history))
    write_json(directory / "config.json", {**config, **found})


def history_table(history: list[Row]) -> pa.Table:
    """The history as a table: a row an evaluation, the columns of the first row first."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    values = {name: pa.array([row.get(name) for row in history], pa.float64()) for name in columns}
    values["step"] = values["step"].cast(pa.int64())
    return pa.table(values)


def load_run(directory: Path) -> tuple[Learner, dict[str, Any]]:
    """The trained learner (val-selected weights, on the CPU) and its configuration, from what `train` wrote.

    Raises `UserError` if a file is missing, damaged, or belongs to another configuration.
    """
    config = read_json(directory / "config.json")
    try:
        family = family_from(config["family"], config["program"])
        template = templates.from_spec(config["template"], str(directory / "config.json"))
        section = learner_section(config["learner"], config["settings"])
        learner = make_learner(config["learner"], family, template, section)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{directory}/config.json is not the configuration of a run ({error})") from None
    path = directory / "weights.safetensors"
    try:
        learner.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {remedy(path)}") from None
    except (SafetensorError, RuntimeError) as error:
        line = str(error).splitlines()[-1].strip()
        raise UserError(f"{path} does not hold this run's weights ({line}); {remedy(directory)}") from None
    return learner, config
