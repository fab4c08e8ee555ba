"""A drawing of a lineage: artifacts in layers from left to right, arrows from what was read to what was made.

Layers by longest path, long arrows bent around boxes through empty places, order within a layer by the mean place of
the neighbours (Sugiyama, Tagawa and Toda, 1981). Pure: positions only, the template draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT, GAP_X, GAP_Y = 104, 38, 30, 14
Cell = tuple[str, int]  # a node, or the place where an arrow of a node passes a layer; and the layer


@dataclass(frozen=True)
class Drawing:
    """Left upper corner of each node's box, and the path of each arrow."""

    boxes: Mapping[str, tuple[float, float]]
    arrows: Sequence[str]  # SVG path data
    width: float
    height: float


def draw(inputs: Mapping[str, Sequence[str]]) -> Drawing:
    """Lay out nodes, given what each was made from; nodes come after their inputs.

    An arrow is left out where a longer way through others already says that one comes from the other.
    """
    needs = {node: _direct(node, inputs) for node in inputs}
    layer: dict[str, int] = {}
    for node, sources in needs.items():
        layer[node] = 1 + max((layer[source] for source in sources), default=-1)
    paths = [_cells(source, node, layer) for node, sources in needs.items() for source in sources]
    columns = _columns(layer, paths)
    rows = _places(columns, paths)
    height = max((max(rows[cell] for cell in column) for column in columns), default=0) + 1
    boxes = {node: _corner((node, at), rows) for node, at in layer.items()}
    return Drawing(
        boxes=boxes,
        arrows=[_arrow(path, rows) for path in paths],
        width=len(columns) * (WIDTH + GAP_X) - GAP_X,
        height=height * (HEIGHT + GAP_Y) - GAP_Y,
    )


def _direct(node: str, inputs: Mapping[str, Sequence[str]]) -> list[str]:
    """The inputs of `node` that none of its other inputs comes from."""
    own = list(dict.fromkeys(inputs[node]))
    return [a for a in own if not any(_reaches(b, a, inputs) for b in own if b != a)]


def _reaches(node: str, target: str, inputs: Mapping[str, Sequence[str]]) -> bool:
    wanted, seen = [node], {node}
    while wanted:
        fresh = set(inputs[wanted.pop()]) - seen
        seen |= fresh
        wanted += fresh
    return target in seen


def _cells(source: str, node: str, layer: Mapping[str, int]) -> list[Cell]:
    """The way of an arrow, one cell a layer."""
    between = range(layer[source] + 1, layer[node])
    return [(source, layer[source]), *((f"{source}\n{node}", at) for at in between), (node, layer[node])]


def _columns(layer: Mapping[str, int], paths: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    cells = dict.fromkeys([*((node, at) for node, at in layer.items()), *(cell for path in paths for cell in path)])
    return [[cell for cell in cells if cell[1] == at] for at in range(max(layer.values(), default=-1) + 1)]


def _places(columns: list[list[Cell]], paths: Sequence[Sequence[Cell]], *, sweeps: int = 8) -> dict[Cell, float]:
    """The row of each cell: columns reordered by their neighbours to and fro, then centred."""
    neighbours: dict[Cell, list[Cell]] = {cell: [] for column in columns for cell in column}
    for path in paths:
        for a, b in pairwise(path):
            neighbours[a].append(b)
            neighbours[b].append(a)
    rows = _stacked(columns)
    for sweep in range(sweeps):
        forward = sweep % 2 == 0
        for column in columns if forward else columns[::-1]:
            beside = column[0][1] + (-1 if forward else 1)
            around = {cell: [rows[n] for n in neighbours[cell] if n[1] == beside] or [rows[cell]] for cell in column}
            means = {cell: sum(at) / len(at) for cell, at in around.items()}
            column.sort(key=means.__getitem__)
            rows |= _stacked(columns)
    return rows


def _stacked(columns: Sequence[Sequence[Cell]]) -> dict[Cell, float]:
    tallest = max((len(column) for column in columns), default=0)
    return {cell: i + (tallest - len(column)) / 2 for column in columns for i, cell in enumerate(column)}


def _corner(cell: Cell, rows: Mapping[Cell, float]) -> tuple[float, float]:
    return cell[1] * (WIDTH + GAP_X), rows[cell] * (HEIGHT + GAP_Y)


def _arrow(path: Sequence[Cell], rows: Mapping[Cell, float]) -> str:
    """A curve from the right edge of the first cell to the left edge of the last, level where it passes a layer."""
    points: list[tuple[float, float]] = []
    for i, cell in enumerate(path):
        x, y = _corner(cell, rows)
        middle = y + HEIGHT / 2
        points += [] if i == 0 else [(x, middle)]
        points += [] if i == len(path) - 1 else [(x + WIDTH, middle)]
    data = f"M{points[0][0]:g} {points[0][1]:g}"
    for (x0, y0), (x1, y1) in pairwise(points):
        half = (x0 + x1) / 2
        data += f"L{x1:g} {y1:g}" if y0 == y1 else f"C{half:g} {y0:g} {half:g} {y1:g} {x1:g} {y1:g}"
    return data
