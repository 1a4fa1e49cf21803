"""Tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

from pipeline.report.table import BEST, SECOND, Column, Table, Value, ranked, to_csv, to_latex, to_markdown

COLUMNS = (
    Column("name", "na|me"),
    Column("x", "ours", "over_all", ".3f"),
    Column("y", "paper", "over_all", ".3f", paper=True),
    Column("hidden", "hidden", shown=False),
    Column("said", "said", format=",d", csv=False),
)
ROWS = (
    {"name": Value("a_b", "A & B"), "x": Value(1 / 3), "y": Value(), "hidden": Value(7), "said": Value(1234)},
    {"name": Value("c", "50 %"), "x": Value(-0.5), "y": Value(float("nan")), "hidden": Value(), "said": Value(0)},
)
TABLE = Table("t", "Title", COLUMNS, (("Group_1", ROWS),), ("a note",))


def test_csv_has_plain_numbers_and_nothing_for_what_is_missing() -> None:
    assert to_csv(TABLE) == "name,x,y,hidden\na_b,0.333333,,7\nc,-0.5,,\n"


def test_markdown_is_escaped_and_aligned() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "# Title",
        "",
        "| na\\|me | over\\_all: ours | over\\_all: paper | said |",
        "| :--- | ---: | ---: | ---: |",
        "| **Group\\_1** |  |  |  |",
        "| A & B | 0.333 | – | 1,234 |",
        "| 50 % | −0.500 | – | 0 |",
        "",
        "a note",
    ]


def test_latex_is_escaped_and_headings_span_their_columns() -> None:
    assert to_latex(TABLE).splitlines() == [
        "% Title",
        "% \\usepackage{booktabs}",
        "\\begin{tabular}{lrrr}",
        "\\toprule",
        " & \\multicolumn{2}{c}{over\\_all} &  \\\\",
        "\\cmidrule(lr){2-3}",
        "na|me & ours & paper & said \\\\",
        "\\midrule",
        "\\multicolumn{4}{l}{\\textbf{Group\\_1}} \\\\",
        "A \\& B & 0.333 & -- & 1,234 \\\\",
        "50 \\% & $-$0.500 & -- & 0 \\\\",
        "\\bottomrule",
        "\\end{tabular}",
        "% a note",
    ]


def test_ranks_compare_numbers_as_shown() -> None:
    column = Column("x", "x", format=".3f")
    rows = [{"x": Value(number)} for number in (0.9001, 0.8, 0.90049, None, 0.7)]
    assert [row["x"].mark for row in ranked(rows, [column])] == [BEST, SECOND, BEST, "", ""]


def test_marks_are_bold_and_underlined() -> None:
    column = Column("x", "x", format=".1f")
    table = Table("t", "T", (column,), (("", ranked([{"x": Value(1.0)}, {"x": Value(0.5)}], [column])),))
    assert "| **1.0** |\n| <u>0.5</u> |" in to_markdown(table)
    assert "\\textbf{1.0} \\\\\n\\underline{0.5} \\\\" in to_latex(table)
