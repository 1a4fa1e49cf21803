"""`neurop publish`: complete MLflow from the DVC outputs. What is there already is left as it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import UserError
from pipeline.files import digest, digest_files, read_json
from pipeline.params import Params
from pipeline.programs import SPLITS
from pipeline.tracking import address, exhibits
from pipeline.tracking.describe import git, identity, settings
from pipeline.tracking.outputs import EVALUATION_FILES, RUN_FILES, RecipeOutputs, SeedOutputs, collect
from pipeline.tracking.registry import register
from pipeline.tracking.store import CONFIGURATION, NOTE, OUTPUTS, PARENT, RUN, SOURCE, Store, reported
from pipeline.training.recipe import recipe, recipes

if TYPE_CHECKING:
    from mlflow.entities import Run

NAMED_AT_MOST = 10
MOST_BYTES = 1 << 26  # of an artefact that is read
STATISTICS = ("median", "mean", "low", "high")


def publish(params: Params, root: Path) -> None:
    """Complete MLflow for every run that `params` asks for, from the outputs below `root`.

    A run that has no outputs is named on the way, and all such runs in the `UserError` at the end.
    """
    if not address.enabled():
        print("tracking is off (NEUROP_TRACKING=off); nothing is published")
        return
    publication = Publication.begin(root)
    published, there, missing = 0, 0, []
    for of in recipes(params):
        found, absent = collect(of, root)
        missing += absent
        if found is not None:
            done = publication.recipe(found)
            published += done
            there += len(found.seeds) - done
    for family in params.grid.families:
        publication.family(params, family)
    print(f"{published} published, {there} already there")
    if missing:
        more = f" and {len(missing) - NAMED_AT_MOST} more" if len(missing) > NAMED_AT_MOST else ""
        names = ", ".join(map(str, missing[:NAMED_AT_MOST])) + more
        raise UserError(f"not published, for want of outputs: {names}; run `dvc repro`, then publish again")


@dataclass(frozen=True)
class Publication:
    """One pass over all runs: the store, and the tags that say from which state of the repository it came."""

    store: Store
    root: Path
    state: Mapping[str, str]

    @staticmethod
    def begin(root: Path) -> Publication:
        """Connect, and look at the repository."""
        state = git(root)
        for name in ("dvc.lock", "params.yaml"):
            if (root / name).exists():
                state[f"neurop.{name}"] = digest_files([root / name])
        return Publication(Store.connect(), root, state)

    def recipe(self, outputs: RecipeOutputs) -> int:
        """Complete one recipe and its seeds. Returns how many seeds there was something to do for."""
        store, config = self.store, outputs.seeds[0].config
        with reported():
            with address.exclusive():
                experiment = store.experiment(outputs.study)
                group = identity(config, seed=False)
                parent = store.parent(experiment, outputs.study, outputs.name, group, settings(config))
            done = {seed.run.seed: self._seed(experiment, parent, seed) for seed in outputs.seeds}
            self._statistics(parent, outputs)
            exhibits.show(store, parent, exhibits.learner_figures(self.root, outputs.study, outputs.name))
            weights = {seed.run.seed: (done[seed.run.seed][1], seed.digest) for seed in outputs.seeds}
            with address.exclusive():
                register(store, outputs.study, outputs.name, weights, outputs.metric["best_seed"])
        return sum(changed for changed, _ in done.values())

    def family(self, params: Params, family: str) -> None:
        """Complete what a report shows of a family beside its runs."""
        with reported(), address.exclusive():
            exhibits.publish_inputs(self.store, params, family, self.root)

    def _seed(self, experiment: str, parent: str, outputs: SeedOutputs) -> tuple[bool, str]:
        """Complete one seed. Returns whether there was something to do, and the run that holds it."""
        name, client = str(outputs.run), self.store.client
        key = {RUN: name, CONFIGURATION: identity(outputs.config)}
        with address.exclusive():
            found = self.store.find(experiment, key)
            todo, there = self._split(found, outputs)
            if not todo and not there:
                tags = {**key, SOURCE: outputs.run.stage}
                todo = [client.get_run(self.store.create(experiment, parent, name, tags, time.time()))]
        for run in (*todo, *there):
            if run.data.tags.get(PARENT) != parent:
                client.set_tag(run.info.run_id, PARENT, parent)
        for run in todo:
            self._complete(run, outputs)
        return bool(todo), (todo or there)[0].info.run_id

    def _split(self, found: list[Run], outputs: SeedOutputs) -> tuple[list[Run], list[Run]]:
        """Of the runs with this configuration: those to complete, and those that hold these outputs.

        To complete are live ones whose points agree with the outputs: all that trained to the end, else the newest,
        whose process died. A run that disagrees is of other code or another machine, and stays as it is.
        """
        there = [run for run in found if run.data.tags.get(OUTPUTS) == outputs.digest]
        live = [run for run in found if OUTPUTS not in run.data.tags and self._agrees(run, outputs)]
        ended = [run for run in live if run.info.status == "FINISHED"]
        return ended or ([] if there else live[:1]), there

    def _agrees(self, run: Run, outputs: SeedOutputs) -> bool:
        logged = self.store.points(run)
        return all(outputs.points.get(p) == value or p[0].startswith("machine/") for p, value in logged.items())

    def _complete(self, run: Run, outputs: SeedOutputs) -> None:
        identifier, logged, now = run.info.run_id, self.store.points(run), time.time()
        new = {point: (value, now) for point, value in outputs.points.items() if point not in logged}
        self.store.log(identifier, new, settings(outputs.config))
        for name in RUN_FILES:
            self.store.upload(identifier, outputs.directory / name)
        if run.info.status != "FINISHED":
            self.store.client.set_terminated(identifier, end_time=run.info.end_time)
        # The commit that a live run began with is nearer the truth than the one that publishes it.
        state = {key: value for key, value in self.state.items() if key not in run.data.tags}
        diverged = {"neurop.diverged": "true"} if outputs.config["diverged"] else {}
        # Last of all: a publication that was cut short before this is completed by the next one.
        self.store.log(identifier, tags=state | diverged | {OUTPUTS: outputs.digest})

    def _statistics(self, parent: str, outputs: RecipeOutputs) -> None:
        """Bring a recipe's statistics up to date: they change with its seeds, and the newest value counts."""
        run = self.store.client.get_run(parent)
        if run.data.tags.get(OUTPUTS) == outputs.digest:
            return
        best = outputs.metric["best_seed"]
        values = {"seeds": float(outputs.metric[SPLITS[0]]["seeds"])}
        for split in SPLITS:
            values[f"accuracy/{split}"] = float(outputs.metric[split]["best"])
            values |= {f"{name}/{split}": float(outputs.metric[split][name]) for name in STATISTICS}
        now = time.time()
        new = {(key, 0): (value, now) for key, value in values.items() if run.data.metrics.get(key) != value}
        self.store.log(parent, new)
        for name in EVALUATION_FILES:
            self.store.upload(parent, outputs.evaluations / name)
        note = f"{outputs.study}/{outputs.name}: val selects seed {best}; statistics are over the seeds below."
        tags = {**self.state, "neurop.best_seed": str(best), NOTE: note, OUTPUTS: outputs.digest}
        self.store.log(parent, tags=tags)


def download(params: Params, study: str, name: str, directory: Path) -> None:
    """Write the bytes of one recipe's published evaluations, under the settings `params`, to `directory`."""
    of, store = recipe(params, study, name), Store.connect()
    key, texts = {RUN: str(of)}, settings(of.values())
    with reported():
        experiment = store.client.get_experiment_by_name(f"neurop/{study}")
        runs = [] if experiment is None else store.find(experiment.experiment_id, key)
        found = [run for run in runs if OUTPUTS in run.data.tags and texts.items() <= run.data.params.items()]
        if not found:
            raise UserError(f"MLflow holds no evaluations of {of} under these settings; run `neurop publish`")
        directory.mkdir(parents=True, exist_ok=True)
        for file in EVALUATION_FILES:
            store.fetch(found[0].info.run_id, file, directory, MOST_BYTES)


def download_inputs(params: Params, family: str, directory: Path) -> Path:
    """Write what a report of `params` shows of a family beside evaluations to `directory`, as one JSON file.

    Its texts are the store's and are still to be checked; that they are those that were published is checked here.
    """
    store = Store.connect()
    key = {RUN: f"{family}/inputs", CONFIGURATION: exhibits.settings_of(params, family)}
    with reported():
        experiment = store.client.get_experiment_by_name(f"neurop/{family}")
        found = [] if experiment is None else store.find(experiment.experiment_id, key)
        if not found:
            raise UserError(f"MLflow holds no inputs of {family} under these settings; run `neurop publish`")
        directory.mkdir(parents=True, exist_ok=True)
        path = store.fetch(found[0].info.run_id, exhibits.INPUTS, directory, MOST_BYTES)
    if digest(read_json(path)) != found[0].data.tags.get(OUTPUTS):
        raise UserError(f"MLflow's {family}/inputs was published in part or is damaged; run `neurop publish`")
    return path
