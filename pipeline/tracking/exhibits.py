"""What is published of a study beside its runs: figures for people, and what a report is made of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.errors import UserError
from pipeline.files import digest, digest_files, write_json
from pipeline.params import Params
from pipeline.tracking.store import CONFIGURATION, NOTE, OUTPUTS, RUN, SOURCE, Store

FIGURES = "neurop.figures"
PLACE = "figures"
INPUTS = "inputs.json"
SUFFIXES = (".csv", ".json", ".py", ".svg")
ABOUT = """What the report shows of {family} beside accuracies: sizes of the splits, the template's neural graph, the \
analyses. `neurop report --from mlflow` reads `inputs.json`; people look at `figures/`."""


def learner_figures(root: Path, study: str, name: str) -> dict[str, Path]:
    """The figures of a recipe's analyses, by their path within the run's artefacts."""
    directory = root / "data" / "analyses" / study / name
    return {f"{PLACE}/{_below(path, directory)}": path for path in sorted(directory.rglob("*.svg"))}


def family_figures(root: Path, family: str) -> dict[str, Path]:
    """The figures of a family that are of no single recipe."""
    comparison = root / "data" / "analyses" / family / "comparison"
    paths = {
        f"{PLACE}/report.svg": root / "reports" / "figures" / f"{family}.svg",
        f"{PLACE}/graph.svg": root / "data" / "graphs" / family / "graph.svg",
        **{f"{PLACE}/comparison/{_below(path, comparison)}": path for path in sorted(comparison.rglob("*.svg"))},
    }
    return {name: path for name, path in paths.items() if path.exists()}


def show(store: Store, run: str, figures: Mapping[str, Path]) -> None:
    """Upload figures to a run, unless it has these."""
    identity = digest({name: digest_files([path]) for name, path in figures.items()})
    if not figures or store.client.get_run(run).data.tags.get(FIGURES) == identity:
        return
    for name, path in figures.items():
        place, _, file = name.rpartition("/")
        if path.name == file:
            store.upload(run, path, place)
        else:
            with TemporaryDirectory() as directory:
                copy = Path(directory, file)
                copy.write_bytes(path.read_bytes())
                store.upload(run, copy, place)
    store.log(run, tags={FIGURES: identity})


def inputs(root: Path, family: str) -> dict[str, str]:
    """What a report reads of a family beside its evaluations: the texts by their path below `data/`."""
    data = root / "data"
    paths = [data / "metrics" / "splits" / f"{family}.json", data / "graphs" / family / "graph.svg"]
    paths += sorted(path for path in (data / "analyses" / family).rglob("*") if path.suffix in SUFFIXES)
    try:
        return {_below(path, data): path.read_text(encoding="utf-8") for path in paths if path.is_file()}
    except UnicodeDecodeError as error:
        raise UserError(f"an analysis of {family} is no text ({error}); run `dvc repro analyze@{family}`") from None


def settings_of(params: Params, family: str) -> str:
    """Digest of the settings whose family an `inputs` run describes."""
    sections = (getattr(params.programs, family), getattr(params.templates, family))
    return digest([section.model_dump(mode="json") for section in sections])


def publish_inputs(store: Store, params: Params, family: str, root: Path) -> None:
    """Bring the run `<family>/inputs` up to date, unless there is nothing to put there."""
    texts = inputs(root, family)
    if not texts:
        return
    experiment = store.experiment(family)
    key = {RUN: f"{family}/inputs", CONFIGURATION: settings_of(params, family)}
    found = store.find(experiment, key)
    if found:
        run, there = found[0].info.run_id, found[0].data.tags.get(OUTPUTS)
    else:
        tags = {**key, SOURCE: f"analyze@{family}", NOTE: ABOUT.format(family=family)}
        run, there = store.client.create_run(experiment, int(time.time() * 1000), tags, "inputs").info.run_id, None
        store.client.set_terminated(run)
    if there != digest(texts):
        with TemporaryDirectory() as directory:
            write_json(Path(directory, INPUTS), texts)
            store.upload(run, Path(directory, INPUTS))
        # After the upload: a publication that is cut short is seen, and completed by the next one.
        store.log(run, tags={OUTPUTS: digest(texts)})
    show(store, run, family_figures(root, family))


def _below(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()
