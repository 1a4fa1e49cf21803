"""A table as values with marks and links, and as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

MISSING = "–"
BEST, SECOND = "best", "second"


@dataclass(frozen=True)
class Value:
    """One cell. `text` is shown instead of `number`; `href` is an anchor of the page; `mark` is BEST or SECOND."""

    number: float | int | str | None = None
    text: str = ""
    href: str = ""
    mark: str = ""


Row = dict[str, Value]


@dataclass(frozen=True)
class Column:
    """A column: its name in CSV, its heading below a shared one (`group`), and the format of its numbers.

    `csv` and `shown` say whether it is in the CSV file and in what people read; `paper`: it holds the paper's numbers.
    """

    key: str
    label: str
    group: str = ""
    format: str = ""
    csv: bool = True
    shown: bool = True
    paper: bool = False

    def show(self, value: Value) -> str:
        """The value as people read it."""
        if value.text:
            return value.text
        if value.number is None or (isinstance(value.number, float) and math.isnan(value.number)):
            return MISSING
        if isinstance(value.number, str):
            return value.number
        return format(value.number, self.format).replace("-", "−")

    @property
    def numeric(self) -> bool:
        """Whether its values stand right-aligned."""
        return bool(self.format)


@dataclass(frozen=True)
class Table:
    """Rows under titles: `groups` are (title, rows). `name` is the files' name; notes stand below."""

    name: str
    title: str
    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that people read."""
        return tuple(column for column in self.columns if column.shown)

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The shared headings and how many shown columns stand below each, from left to right."""
        return [(group, len(list(columns))) for group, columns in groupby(self.shown, key=lambda c: c.group)]


def ranked(rows: Sequence[Row], columns: Iterable[Column], marks: Sequence[str] = (BEST, SECOND)) -> tuple[Row, ...]:
    """The rows with the highest number of each column marked as the first of `marks` says, the next as the second.

    Numbers are compared as shown: two that a reader cannot tell apart share the mark. Zero is never marked.
    """
    marked = [dict(row) for row in rows]
    for column in columns:
        shown = {i: float(format(n, column.format)) for i, row in enumerate(rows) if _is(n := row[column.key].number)}
        order = sorted({number for number in shown.values() if number}, reverse=True)
        place = dict(zip(order, marks, strict=False))
        for i, number in shown.items():
            marked[i][column.key] = replace(rows[i][column.key], mark=place.get(number, ""))
    return tuple(marked)


def to_csv(table: Table) -> str:
    """Numbers to six significant places, nothing for what is missing, names as the settings spell them."""
    columns = [column for column in table.columns if column.csv]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.key for column in columns])
    for _, rows in table.groups:
        writer.writerows([[_plain(row[column.key].number) for column in columns] for row in rows])
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub table with its title and notes."""
    columns = table.shown
    head = [_markdown(f"{column.group}: {column.label}" if column.group else column.label) for column in columns]
    rule = ["---:" if column.numeric else ":---" for column in columns]
    lines = [f"# {_markdown(table.title)}", "", _line(head), _line(rule)]
    for title, rows in table.groups:
        if title:
            lines.append(_line([f"**{_markdown(title)}**"] + [""] * (len(columns) - 1)))
        lines += [_line([_markdown_value(column, row[column.key]) for column in columns]) for row in rows]
    for note in table.notes:
        lines += ["", _markdown(note)]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A `tabular` with booktabs' rules, to be read by `\\input`; title and notes as comments."""
    columns = table.shown
    shape = "".join("r" if column.numeric else "l" for column in columns)
    lines = [f"% {table.title}", "% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{shape}}}", "\\toprule"]
    if any(group for group, _ in table.spans):
        lines += _latex_spans(table.spans)
    lines += [_latex_line([_latex(column.label) for column in columns])]
    for title, rows in table.groups:
        lines.append("\\midrule")
        if title:
            lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\textbf{{{_latex(title)}}}}} \\\\")
        lines += [_latex_line([_latex_value(column, row[column.key]) for column in columns]) for row in rows]
    lines += ["\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _is(number: object) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _plain(number: float | int | str | None) -> str:
    if number is None or (isinstance(number, float) and math.isnan(number)):
        return ""
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    for special in "\\|*_<`":
        text = text.replace(special, f"\\{special}")
    return text


def _markdown_value(column: Column, value: Value) -> str:
    text = _markdown(column.show(value))
    return {BEST: f"**{text}**", SECOND: f"<u>{text}</u>"}.get(value.mark, text)


LATEX = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "’": "'",
    "θ": r"$\theta$",
}


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def _latex_value(column: Column, value: Value) -> str:
    text = _latex(column.show(value))
    return {BEST: f"\\textbf{{{text}}}", SECOND: f"\\underline{{{text}}}"}.get(value.mark, text)


def _latex_line(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_spans(spans: list[tuple[str, int]]) -> list[str]:
    cells, rules, first = [], [], 1
    for group, count in spans:
        cells.append(f"\\multicolumn{{{count}}}{{c}}{{{_latex(group)}}}" if group else " & ".join([""] * count))
        if group:
            rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [_latex_line(cells), "".join(rules)]
