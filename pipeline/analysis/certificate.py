from __future__ import annotations

from pipeline.analysis.finding import DoesNotApply, Finding
from pipeline.analysis.subject import Subject


def analyse(subject: Subject) -> Finding:
    raise DoesNotApply("Being written.")
