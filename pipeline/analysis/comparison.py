from __future__ import annotations

from collections.abc import Sequence

from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.subject import Subject


def analyse(subjects: Sequence[Subject]) -> Finding:
    raise DoesNotApply("Being written.")
