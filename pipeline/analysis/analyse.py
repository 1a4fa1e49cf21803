"""All analyses of a family: of the best run of each meta-learner, and of its runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.analysis import certificate, clock, closed_form, comparison, geometry, sensitivity, spectrum, symbolic
from pipeline.analysis.finding import DoesNotApply, Finding, write
from pipeline.analysis.subject import Subject, load

Analysis = Callable[[Subject], Finding]

# In the order of the page.
ANALYSES: dict[str, tuple[str, Analysis]] = {
    "geometry": ("Geometry of the embeddings", geometry.analyse),
    "spectrum": ("Spectrum", spectrum.analyse),
    "sensitivity": ("Which weights depend on the intent", sensitivity.analyse),
    "clock": ("Clock metrics", clock.analyse),
    "closed_form": ("Closed form", closed_form.analyse),
    "symbolic": ("Back into the network", symbolic.analyse),
    "certificate": ("Certificates", certificate.analyse),
}
COMPARISON = ("comparison", "Runs side by side")


def analyse(subject: Subject) -> list[Finding]:
    """Every analysis of one run; one that does not apply says why."""
    return [_found(name, title, partial(of, subject)) for name, (title, of) in ANALYSES.items()]


def compare(subjects: Sequence[Subject]) -> Finding:
    """What the runs of one family have in common, and what not."""
    return _found(*COMPARISON, partial(comparison.analyse, subjects))


def analyse_family(best: dict[str, Path], runs: Sequence[Path], output: Path) -> dict[str, float | int | str | None]:
    """Write the findings on one family below `output`; returns all their numbers.

    Args:
        best: the run to analyse of each learner, by name; of direct baselines, which write no weights, nothing is made.
        runs: all runs to compare.
    """
    numbers: dict[str, float | int | str | None] = {}
    for learner, directory in best.items():
        subject = load(directory)
        if subject is None:
            continue
        for finding in analyse(subject):
            write(output / learner / finding.name, finding)
            numbers |= {f"{learner}.{finding.name}.{key}": value for key, value in finding.numbers.items()}
    loaded = (load(directory) for directory in runs)
    finding = compare([subject for subject in loaded if subject is not None])
    write(output / finding.name, finding)
    return numbers | {f"{finding.name}.{key}": value for key, value in finding.numbers.items()}


def _found(name: str, title: str, of: Callable[[], Finding]) -> Finding:
    try:
        return of()
    except DoesNotApply as reason:
        return Finding(name, title, (str(reason),), applies=False)
