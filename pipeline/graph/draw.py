"""Neural graphs as SVG: neuron by neuron where that is legible, layer by layer where it is not (Figures 4–6)."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from pipeline.graph.neural_graph import ALIGN, PASS_THRU, RESIDUAL, NeuralGraph, NodeGroup
from pipeline.graph.views import WEIGHT, Tables

MOST_NEURONS = 60
COLUMN, LANE, MARGIN = 190, 96, 60
BOX_WIDTH, BOX_HEIGHT = 104, 50
LANES = {"Q": 0, "K": 1, "V": 2}
STYLES = {
    WEIGHT: 'stroke="currentColor" stroke-opacity="0.35"',
    RESIDUAL: 'stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="6 4"',
    PASS_THRU: 'stroke="#d55e00" stroke-dasharray="2 3"',
    ALIGN: 'stroke="#0072b2" stroke-dasharray="6 4"',
}
MEANINGS = {
    WEIGHT: "weights",
    RESIDUAL: "residual, weight 1",
    PASS_THRU: "pass_thru: heads move together",
    ALIGN: "align_one2one: dimensions move together",
}


@dataclass(frozen=True)
class Place:
    """Where a node group stands: column and lane, and its centre in pixels."""

    x: float
    y: float


def draw(graph: NeuralGraph, view: Tables, title: str) -> str:
    """An SVG of the graph. Equal graphs give equal text."""
    if graph.n_nodes <= MOST_NEURONS:
        return _neurons(graph, view, title)
    return _layers(graph, title)


def depths(graph: NeuralGraph) -> dict[str, int]:
    """Column of each group: the longest path that leads to it (groups stand in the order of computation)."""
    arrows = [(b.source, b.target) for b in graph.blocks]
    arrows += [(link.source, link.target) for link in graph.links if link.kind != ALIGN]
    depth: dict[str, int] = {}
    for group in graph.groups:
        depth[group.name] = max((depth[s] + 1 for s, t in arrows if t == group.name), default=0)
    return depth


def _neurons(graph: NeuralGraph, view: Tables, title: str) -> str:
    """Each neuron a circle (a square where it is fixed), each weight a line."""
    depth, step = depths(graph), 26
    height = max(group.size for group in graph.groups) * step + 2 * MARGIN
    place: dict[int, Place] = {}
    for row in view.nodes.itertuples():
        size = graph.group(str(row.group)).size
        y = height / 2 + (row.index - (size - 1) / 2) * step
        place[int(row.node)] = Place(MARGIN + depth[str(row.group)] * 1.25 * COLUMN, y)
    parts = [
        f'<line x1="{_n(place[e.source].x)}" y1="{_n(place[e.source].y)}" '
        f'x2="{_n(place[e.target].x)}" y2="{_n(place[e.target].y)}" {STYLES[e.kind]}/>'
        for e in view.edges.itertuples()
    ]
    for row in view.nodes.itertuples():
        parts.append(_neuron(place[int(row.node)], bool(row.fixed), bool(row.bias)))
    for group in graph.groups:
        x = MARGIN + depth[group.name] * 1.25 * COLUMN
        parts.append(_text(x, 22, f"{group.name} ({group.size})", bold=True))
        if group.bias:
            parts.append(_text(x, 40, f"bias {group.bias}"))
    for block in graph.blocks:
        middle = MARGIN + (depth[block.source] + depth[block.target]) * 0.625 * COLUMN
        parts.append(_text(middle, height - 14, block.tensor))
    width = 2 * MARGIN + max(depth.values()) * 1.25 * COLUMN
    return _svg(width, height, title, parts)


def _neuron(place: Place, fixed: bool, bias: bool) -> str:
    fill = "#e69f00" if bias else "#8a8a8a"
    if fixed:
        return f'<rect x="{_n(place.x - 8)}" y="{_n(place.y - 8)}" width="16" height="16" fill="{fill}"/>'
    return f'<circle cx="{_n(place.x)}" cy="{_n(place.y)}" r="9" fill="{fill}"/>'


def _layers(graph: NeuralGraph, title: str) -> str:
    """Each node group a box, each tensor an arrow with its name and size."""
    depth = depths(graph)
    place: dict[str, Place] = {}
    for group in graph.groups:
        place[group.name] = _place(group, depth[group.name], set(place.values()))
    parts = []
    for link in graph.links:
        parts.append(_arc(place[link.source], place[link.target], STYLES[link.kind]))
    labels = []
    for block in graph.blocks:
        source, target = place[block.source], place[block.target]
        parts.append(_arrow(source, target))
        sizes = [*graph.edge_shape(block), *([block.channels] if block.channels > 1 else [])]
        size = " × ".join(map(str, sizes[:1] + sizes[2:] if block.paired else sizes))
        # Beside a slanted arrow, not on it.
        aside = 34 * (target.y < source.y) - 34 * (target.y > source.y)
        x, y = (source.x + target.x) / 2 - aside, (source.y + target.y) / 2 - (10 if aside else 0)
        labels += [_text(x, y - 6, block.tensor, bold=True), _text(x, y + 16, size)]
    for group in graph.groups:
        parts.append(_box(group, place[group.name]))
    width = 2 * MARGIN + max(depth.values()) * COLUMN + BOX_WIDTH
    lowest = max(MARGIN + 3.6 * LANE, *(p.y for p in place.values()))
    parts += labels + _legend(graph, lowest + 0.9 * LANE)
    return _svg(width, lowest + 1.2 * LANE, title, parts)


def _place(group: NodeGroup, depth: int, taken: set[Place]) -> Place:
    """The lane of an attention module's part, or the middle one; below what stands there already."""
    lane = LANES.get(group.name.rpartition(".")[2], 2.4 if group.name == "position" else 1)
    place = Place(MARGIN + BOX_WIDTH / 2 + depth * COLUMN, MARGIN + (lane + 1.2) * LANE)
    while place in taken:
        place = Place(place.x, place.y + LANE)
    return place


def _box(group: NodeGroup, place: Place) -> str:
    size = " × ".join(map(str, group.shape))
    lines = [_text(place.x, place.y - (8 if group.bias else 2), group.name, bold=True)]
    lines.append(_text(place.x, place.y + (6 if group.bias else 14), size))
    if group.bias:
        lines.append(_text(place.x, place.y + 20, f"bias {group.bias}"))
    x, y = _n(place.x - BOX_WIDTH / 2), _n(place.y - BOX_HEIGHT / 2)
    fill = "#8a8a8a" if group.fixed else "#e69f00"
    rectangle = (
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" '
        f'fill="{fill}" fill-opacity="0.18" stroke="currentColor"/>'
    )
    return rectangle + "".join(lines)


def _arrow(source: Place, target: Place) -> str:
    x1, x2 = source.x + BOX_WIDTH / 2, target.x - BOX_WIDTH / 2
    y1 = source.y
    if target.x - source.x > 1.2 * COLUMN:  # below the boxes between
        x1, y1 = source.x, source.y + BOX_HEIGHT / 2
    return (
        f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(target.y)}" '
        f'stroke="currentColor" stroke-width="1.4" marker-end="url(#tip)"/>'
    )


def _arc(source: Place, target: Place, style: str) -> str:
    """A curve over the boxes for long ways, a straight line for neighbours."""
    if abs(target.x - source.x) < 1:
        top, bottom = sorted((source.y, target.y))
        return (
            f'<path d="M{_n(source.x)} {_n(top + BOX_HEIGHT / 2)} V{_n(bottom - BOX_HEIGHT / 2)}" fill="none" {style}/>'
        )
    if target.x - source.x < 1.2 * COLUMN:
        x1, x2 = source.x + BOX_WIDTH / 2, target.x - BOX_WIDTH / 2
        return f'<line x1="{_n(x1)}" y1="{_n(source.y)}" x2="{_n(x2)}" y2="{_n(target.y)}" {style}/>'
    top = min(source.y, target.y) - BOX_HEIGHT / 2
    rise = top - 0.27 * (target.x - source.x)
    start, end = source.x + 12, target.x - 12
    curve = f"M{_n(start)} {_n(top)} C{_n(start)} {_n(rise)} {_n(end)} {_n(rise)} {_n(end)} {_n(top)}"
    return f'<path d="{curve}" fill="none" {style}/>'


def _legend(graph: NeuralGraph, y: float) -> list[str]:
    parts, x = [], float(MARGIN)
    for kind in (RESIDUAL, ALIGN, PASS_THRU):
        if any(link.kind == kind for link in graph.links):
            parts.append(f'<line x1="{_n(x)}" y1="{_n(y)}" x2="{_n(x + 40)}" y2="{_n(y)}" {STYLES[kind]}/>')
            parts.append(_text(x + 48, y + 4, MEANINGS[kind], anchor="start"))
            x += 330
    return parts


def _text(x: float, y: float, text: str, bold: bool = False, anchor: str = "middle") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(width: float, height: float, title: str, parts: list[str]) -> str:
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'font-family="DejaVu Sans, sans-serif" font-size="12" fill="currentColor" role="img">'
        f"<title>{escape(title)}</title>"
        f'<defs>{tip}<path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
