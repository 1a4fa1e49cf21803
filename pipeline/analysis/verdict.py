"""What `neurop verify` says of a program's certificate."""

from __future__ import annotations

from pipeline.analysis.certified import Checked
from pipeline.analysis.quantization import FORMATS, distance


def lines(checked: Checked) -> list[str]:
    """The margin, the certified radius, and what rounding the weights does, one line each."""
    if not checked.finite:
        return ["no certificate: some weights are not finite"]
    n = len(checked.x)
    inputs = f"all {n:,} inputs" if checked.exhaustive else f"the {n:,} inputs tried (certified for these only)"
    return [f"margin {checked.margin:.3g} over {inputs}; {_kept(checked)}", *_rounded(checked)]


def _kept(checked: Checked) -> str:
    right = int(checked.right.sum())
    if not right:
        return "no certificate: no answer is right"
    if not checked.radius:
        return "no certificate: a right answer has no lead"
    which = "no answer" if right == len(checked.x) else f"none of the {right:,} right answers"
    return f"{which} changes while the weights move less than {checked.radius:.2g} (certified; ‖·‖_par of App. A)"


def _rounded(checked: Checked) -> list[str]:
    theta, n = checked.program.theta, len(checked.x)
    rounded = {name: to(theta) for name, to in FORMATS.items()}
    covered = checked.covers(*rounded.values())
    return [
        f"rounding to {name} moves them by {distance(theta, there):.2g}: "
        f"{'covered' if is_covered else 'not covered'} by the certificate; "
        f"in fact {checked.changed(there):,} of {n:,} answers change"
        for (name, there), is_covered in zip(rounded.items(), covered, strict=True)
    ]
