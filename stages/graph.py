"""DVC stage graph@family: the template and its neural graph, as JSON, Parquet and SVG."""

from __future__ import annotations

from pathlib import Path

from pipeline import params
from pipeline.errors import run_main
from pipeline.files import replacing_directory, write_json, write_parquet, write_text
from pipeline.graph import from_template
from pipeline.graph.draw import draw
from pipeline.graph.views import tables
from pipeline.templates import make_template
from stages import arguments


def main(argv: list[str]) -> None:
    (family,) = arguments(argv, "graph", "FAMILY")
    template = make_template(params.load(), family)
    graph = from_template(template)
    view = tables(graph, template)
    with replacing_directory(Path("data/graphs") / family) as directory:
        write_json(directory / "template.json", template.spec())
        for name, table in view.parquet().items():
            write_parquet(directory / f"{name}.parquet", table)
        write_text(directory / "graph.svg", draw(graph, view, f"Neural graph of the {family} template"))
    counts = {"slots": template.n_slots, "nodes": graph.n_nodes, "weight_edges": graph.n_weight_edges}
    write_json(Path("data/metrics/graphs") / f"{family}.json", counts)


if __name__ == "__main__":
    run_main(main)
