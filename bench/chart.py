"""The chart: processor time per request as an SVG that follows the light or dark mode of the page."""

import math
from collections.abc import Iterator

from bench.report import grouped, number
from bench.run import Run

WIDTH, LEFT, RIGHT, TOP, ROW = 760, 90, 80, 92, 30

COLOURS = ("#2f81f7", "#8b949e", "#e5534b", "#d29922")
"""One for each subject, in order. Each has enough contrast on white and on black."""

STYLE = """
  svg { font: 13px system-ui, sans-serif }
  .page { fill: #ffffff } text { fill: #1f2328 } .faint { fill: #59636e } line { stroke: #d1d9e0 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #f0f6fc } .faint { fill: #9198a1 } line { stroke: #3d444d }
  }
"""


def chart(runs: list[Run]) -> str:
    """A row for each operation with a dot for each subject. All runs have the same number of connections."""
    operations = grouped(runs, "operation")
    colours = dict(zip(grouped(runs, "subject"), COLOURS, strict=False))
    bottom = TOP + ROW * len(operations)
    least = math.floor(math.log10(min(run.service for run in runs)))
    most = math.log10(max(run.service for run in runs))

    def x(microseconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(microseconds) - least) / (most - least)

    def parts() -> Iterator[str]:
        yield f'<text x="20" y="30" font-size="16" font-weight="600">{_title(runs[0].connections)}</text>'
        place = LEFT
        for name, colour in colours.items():
            yield f'<circle cx="{place}" cy="55" r="6" fill="{colour}"/><text x="{place + 12}" y="59">{name}</text>'
            place += 40 + 8 * len(name)
        for power in range(least, math.floor(most) + 1):
            mark = x(10**power)
            yield f'<line x1="{mark:.1f}" y1="{TOP - 14}" x2="{mark:.1f}" y2="{bottom}"/>'
            yield f'<text class="faint" x="{mark:.1f}" y="{bottom + 20}" text-anchor="middle">{10**power:,} µs</text>'
        for row, (operation, group) in enumerate(operations.items()):
            y = TOP + ROW * row + 8
            costs = [run.service for run in group]
            yield f'<text x="{LEFT - 24}" y="{y + 5}" text-anchor="end">{operation}</text>'
            yield f'<line x1="{x(min(costs)):.1f}" y1="{y}" x2="{x(max(costs)):.1f}" y2="{y}" stroke-width="3"/>'
            for run in reversed(group):  # the service last, on top
                yield f'<circle cx="{x(run.service):.1f}" cy="{y}" r="7" fill="{colours[run.subject]}"/>'
            yield f'<text x="{x(costs[0]) - 12:.1f}" y="{y + 5}" text-anchor="end">{number(costs[0])}</text>'
            yield f'<text x="{x(max(costs)) + 12:.1f}" y="{y + 5}">{number(max(costs))}</text>'

    size = f'width="{WIDTH}" height="{bottom + 36}" viewBox="0 0 {WIDTH} {bottom + 36}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_title(runs[0].connections)}" {size}>'
    page = '<rect class="page" width="100%" height="100%" rx="8"/>'
    return "\n".join((head, f"<style>{STYLE}</style>", page, *parts(), "</svg>\n"))


def _title(connections: int) -> str:
    return f"Processor time per request at {connections} connections: less is better (log scale)"
