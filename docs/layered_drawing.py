"""Draws a graph without cycles as SVG, in rows: every arrow points down.

As in Sugiyama's method: each name's row is one below the lowest of those that point to it, long
arrows get a bend in each row that they pass, and rows are sorted so that few arrows cross. No
program or library is needed, and the same graph always gives the same picture.
"""

import itertools
from collections.abc import Iterator, Mapping
from html import escape

Graph = Mapping[str, set[str]]
"""Each name with those that its arrows point to."""
Bend = tuple[str, str, int]
"""Where the arrow from one name to another passes a row."""
Node = str | Bend
WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 132, 32, 26, 44, 14
"""Pixels: of a box, between boxes, between rows, and around all."""
BEND_WIDTH = 18
SWEEPS = 24
STYLE = """
  rect { fill: #e8eaf6; stroke: #3f51b5; }
  text { font: 13px sans-serif; text-anchor: middle; fill: #1a1a2e; }
  path { fill: none; stroke: #5c6bc0; stroke-width: 1.3; }
  marker path { fill: #5c6bc0; stroke: none; }
  @media (prefers-color-scheme: dark) {
    rect { fill: #283048; stroke: #7986cb; } text { fill: #e8eaf6; }
    path { stroke: #9fa8da; } marker path { fill: #9fa8da; }
  }
"""


def rows_of(graph: Graph) -> dict[str, int]:
    """The row of each name, from 0 at the top."""
    above = {name: {one for one, there in graph.items() if name in there} for name in graph}
    rows: dict[str, int] = {}
    while len(rows) < len(graph):
        ready = [name for name in graph if name not in rows and above[name] <= rows.keys()]
        if not ready:
            raise ValueError(f"a graph without cycles is needed, got {sorted(graph)}")
        rows |= {name: 1 + max((rows[one] for one in above[name]), default=-1) for name in ready}
    return rows


def ways(graph: Graph, rows: Mapping[str, int]) -> Iterator[list[Node]]:
    """Each arrow as what it passes, from its start to its end."""
    for here in sorted(graph):
        for there in sorted(graph[here]):
            bends = [(here, there, row) for row in range(rows[here] + 1, rows[there])]
            yield [here, *bends, there]


def ordered(graph: Graph, rows: Mapping[str, int]) -> list[list[Node]]:
    """The rows from left to right: whatever is joined stands near each other."""
    table: list[list[Node]] = [[] for _ in range(max(rows.values()) + 1)]
    for name in sorted(graph):
        table[rows[name]].append(name)
    near: dict[Node, list[Node]] = {}
    for way in ways(graph, rows):
        for bend in way[1:-1]:
            table[bend[2]].append(bend)  # type: ignore[arg-type]
        for one, other in itertools.pairwise(way):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    for sweep in range(SWEEPS):
        for row in table if sweep % 2 else reversed(table):
            spot = {
                node: (place + 0.5) / len(line) for line in table for place, node in enumerate(line)
            }
            row.sort(
                key=lambda node: (
                    sum(spot[one] for one in near.get(node, [node])) / len(near.get(node, [node]))
                )
            )
    return table


def middles(table: list[list[Node]]) -> tuple[dict[Node, tuple[float, float]], float]:
    """Where the middle of each box and bend is, and how wide the picture is."""
    wide = [
        sum(WIDTH if isinstance(node, str) else BEND_WIDTH for node in row)
        + ACROSS * (len(row) - 1)
        for row in table
    ]
    spots: dict[Node, tuple[float, float]] = {}
    for number, row in enumerate(table):
        x = MARGIN + (max(wide) - wide[number]) / 2
        for node in row:
            width = WIDTH if isinstance(node, str) else BEND_WIDTH
            spots[node] = (x + width / 2, MARGIN + number * (HEIGHT + DOWN) + HEIGHT / 2)
            x += width + ACROSS
    return spots, max(wide) + 2 * MARGIN


def arrow(way: list[Node], spots: Mapping[Node, tuple[float, float]]) -> str:
    """A line from one box through the bends to another, from lower edge to upper edge."""
    points = [spots[node] for node in way]
    points[0] = (points[0][0], points[0][1] + HEIGHT / 2)
    points[-1] = (points[-1][0], points[-1][1] - HEIGHT / 2 - 5)
    line = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        half = (y0 + y1) / 2
        line += f" C{x0:.0f} {half:.0f} {x1:.0f} {half:.0f} {x1:.0f} {y1:.0f}"
    return f'<path d="{line}" marker-end="url(#tip)"/>'


def drawing(graph: Graph, title: str) -> str:
    """The picture."""
    rows = rows_of(graph)
    table = ordered(graph, rows)
    spots, width = middles(table)
    height = 2 * MARGIN + len(table) * (HEIGHT + DOWN) - DOWN
    boxes = [
        f'<rect x="{x - WIDTH / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{WIDTH}" '
        f'height="{HEIGHT}" rx="5"/><text x="{x:.0f}" y="{y + 4:.0f}">{escape(node)}</text>'
        for node, (x, y) in spots.items()
        if isinstance(node, str)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
            f'width="{width:.0f}" height="{height}" role="img">',
            f"<title>{escape(title)}</title><style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="2" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            *(arrow(way, spots) for way in ways(graph, rows)),
            *boxes,
            "</svg>\n",
        ]
    )
