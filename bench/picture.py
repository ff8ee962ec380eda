"""Draw what was measured as SVG: who answers more, and what a request costs.

    python bench/picture.py bench/results/free.json

The overview has a cell for each peer and case; the details have a panel for each case. Both can be
drawn again from the file that a run has left.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

from results import Report, Result, load, number, ratio  # beside this file

_STYLE: Final = """
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
text{fill:#1f2933}
.title{font-size:20px;font-weight:700}.about,.axis{fill:#616e7c;font-size:12px}.axis{font-weight:600}
.case{font-size:15px;font-weight:700}.mine{font-weight:700;fill:#0b6e4f}.end{text-anchor:end}
.middle{text-anchor:middle}.small{font-size:11px;fill:#616e7c}.big{font-size:16px;font-weight:700}
.paper{fill:#fff}.ours{fill:#0b6e4f}.ours2{fill:#7cc4a8}.peer{fill:#7b8794}.peer2{fill:#cbd2d9}
.ceiling{fill:none;stroke:#7b8794;stroke-dasharray:3 3}.spread{stroke:#1f2933;stroke-width:1.5}
.rule{stroke:#cbd2d9}.cut{fill:#fff}
.much{fill:#57b894}.more{fill:#a5dcc5}.same{fill:#e4e7eb}.less{fill:#f7c9a0}.none{fill:none;stroke:#e4e7eb}
@media(prefers-color-scheme:dark){text{fill:#f5f7fa}.about,.axis,.small{fill:#9aa5b1}.paper,.cut{fill:#12181f}
.mine{fill:#6fd6b0}.ours{fill:#2fa37c}.ours2{fill:#1d5c48}.peer{fill:#7b8794}.peer2{fill:#3e4c59}
.spread{stroke:#f5f7fa}.rule{stroke:#3e4c59}.none{stroke:#323f4b}
.much{fill:#187254}.more{fill:#14543f}.same{fill:#3e4c59}.less{fill:#8a4b16}
.cell .small{fill:#e4e7eb}}
.cell .small{fill:#323f4b}
"""
_MARGIN: Final = 20


def main() -> None:
    """Draw the pictures of a run again."""
    for name in sys.argv[1:]:
        write(load(Path(name)), Path(name))


def write(report: Report, path: Path) -> None:
    """Write the picture of the details, and the overview if there are peers, beside a file."""
    path.with_suffix(".svg").write_text(details(report))
    if report.is_ranked:
        path.with_name(f"{path.stem}-overview.svg").write_text(overview(report))


def _svg(parts: Sequence[str], width: int, height: float, title: str) -> str:
    style = _STYLE.replace("\n", "")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n"
        f'<rect width="{width}" height="{height:.0f}" class="paper"/>\n' + "\n".join(parts)
    ) + "\n</svg>\n"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    across = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}"'
    return f'<rect {across} class="{kind}"/>'


def _heading(title: str, lines: Sequence[str], about: str, width: int) -> tuple[list[str], float]:
    """Write the title, what is shown, and the machine; give the height that this takes."""
    parts = [_text(_MARGIN, 36, title, "title")]
    y = 36.0
    for line in lines:
        y += 20
        parts.append(_text(_MARGIN, y, line))
    for line in textwrap.wrap(about, width // 7):
        y += 17
        parts.append(_text(_MARGIN, y, line, "about"))
    return parts, y + 14


# --- overview ----------------------------------------------------------------------------------

_CELL_WIDTH, _CELL_HEIGHT, _NAMES = 104, 46, 230
_LEGEND: Final = (
    "2.0 × means: claim-records answers twice as many requests a second as this peer (green).",
    "CPU 0.50 × means: a request takes half the processor time, service and Postgres together.",
)


def _peers(report: Report) -> list[str]:
    """Name the peers, those first whom we are the furthest ahead of."""
    found: dict[str, list[float]] = {}
    for results in report.cases:
        for result in results[1:]:
            if not result.is_ceiling:
                found.setdefault(result.side, []).append(ratio(results[0], result, "per_second"))
    return sorted(found, key=lambda side: fmean(found[side]))


def overview(report: Report) -> str:
    """Draw a cell for each peer and case: how many times as many requests we answer."""
    width = _MARGIN * 2 + _NAMES + _CELL_WIDTH * len(report.cases)
    parts, y = _heading(
        report.title,
        _LEGEND,
        report.about,
        width,
    )
    y += 12
    for place, results in enumerate(report.cases):
        middle = _MARGIN + _NAMES + _CELL_WIDTH * (place + 0.5)
        code, _, name = results[0].case.partition(" ")
        lines = textwrap.wrap(name, 16)[:3]
        parts.append(_text(middle, y + 10, code, "axis middle"))
        parts += [
            _text(middle, y + 26 + 14 * n, line, "small middle") for n, line in enumerate(lines)
        ]
    y += 64
    for side in _peers(report):
        parts.append(_text(_MARGIN + _NAMES - 12, y + _CELL_HEIGHT / 2 + 4, side, "end"))
        for place, results in enumerate(report.cases):
            x = _MARGIN + _NAMES + _CELL_WIDTH * place
            parts += _cell(x, y, results[0], [each for each in results if each.side == side])
        y += _CELL_HEIGHT
    return _svg(parts, width, y + _MARGIN, f"{report.title}: overview")


def _cell(x: float, y: float, mine: Result, theirs: Sequence[Result]) -> list[str]:
    """Draw the comparison with one peer in one case."""
    inner = (x + 2, y + 2, _CELL_WIDTH - 4, _CELL_HEIGHT - 4)
    if not theirs:
        return [_rect(*inner, "none")]
    times, cpu = (ratio(mine, theirs[0], name) for name in ("per_second", "cpu"))
    kind = (
        "much" if times >= 2 else "more" if times >= 1.1 else "same" if times > 1 / 1.1 else "less"
    )
    middle = x + _CELL_WIDTH / 2
    return [
        '<g class="cell">',
        _rect(*inner, kind),
        _text(middle, y + 21, f"{_times(times)} ×", "big middle"),
        _text(middle, y + 36, f"CPU {_times(cpu)} ×", "small middle"),
        "</g>",
    ]


def _times(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 2 else f"{value:.2f}"


# --- details -----------------------------------------------------------------------------------

_BAR, _STEP = 16, 24
_RATES, _COSTS, _LATENCIES = 220, 600, 960
"""Where the bars of the requests, those of the processor time, and the latencies begin."""
_RATE_BAR, _COST_BAR, _WIDTH = 230, 230, 1130
_HOW_TO_READ: Final = (
    "Each case has its own scale. Thin line: slowest to fastest round. Dashed: a ceiling, no peer.",
    "“2.0 ×” behind a number: the green side has twice as many of it, requests or processor time.",
)
_MOST_COSTS: Final = 5
"""A bar of processor time is cut off where it is so many times as long as ours."""


class _Scale(NamedTuple):
    """What the longest bars stand for."""

    rate: float
    cost: float


def details(report: Report) -> str:
    """Draw a panel for each case: requests, processor time of a request, latencies."""
    parts, y = _heading(
        report.title,
        _HOW_TO_READ,
        report.about,
        _WIDTH,
    )
    for results in report.cases:
        y += 34
        across = f'x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}"'
        parts.append(f'<line {across} y1="{y - 20}" y2="{y - 20}" class="rule"/>')
        parts += [
            _text(_MARGIN, y, results[0].case, "case"),
            _text(_RATES, y + 20, "requests a second: longer is better", "axis"),
            _text(_COSTS, y + 20, "CPU µs of service, Postgres: shorter is better", "axis"),
            _text(_WIDTH - _MARGIN - 80, y + 20, "p50 ms", "axis end"),
            _text(_WIDTH - _MARGIN, y + 20, "p99 ms", "axis end"),
        ]
        y += 30
        scale = _scale(results)
        for result in _in_order(results, sort=report.is_ranked):
            parts += _line(result, results[0], scale, y)
            y += _STEP
    return _svg(parts, _WIDTH, y + _MARGIN, report.title)


def _in_order(results: Sequence[Result], *, sort: bool) -> list[Result]:
    """Give the fastest first, and the ceilings after all others."""
    if not sort:
        return [*results]
    return sorted(results, key=lambda each: (each.is_ceiling, -each.middle("per_second")))


def _scale(results: Sequence[Result]) -> _Scale:
    """Let ours and the peers fit; a ceiling, and a cost of many times ours, is cut off."""
    inside = [each for each in results if not each.is_ceiling]
    costs = max(each.middle("cpu") for each in inside)
    most = max(_MOST_COSTS * results[0].middle("cpu"), 1.0)
    return _Scale(max(max(each.rates) for each in inside), min(costs, most))


def _line(result: Result, mine: Result, scale: _Scale, y: float) -> list[str]:
    """Draw the bars and the numbers of one side."""
    is_mine = result is mine
    name = "mine" if is_mine else ""
    dark, light = ("ours", "ours2") if is_mine else ("peer", "peer2")
    base = y + _BAR - 4
    rate, low, high = (
        value / scale.rate
        for value in (result.middle("per_second"), min(result.rates), max(result.rates))
    )
    server, postgres = (result.middle(each) / scale.cost for each in ("server_cpu", "postgres_cpu"))
    times = "" if is_mine else f" · {_times(ratio(mine, result, 'per_second'))} ×"
    cost = "" if is_mine else f" · {_times(ratio(mine, result, 'cpu'))} ×"
    parts = [_text(_RATES - 12, base, result.side, f"{name} end".strip())]
    if result.is_ceiling:
        parts.append(_rect(_RATES, y, min(rate, 1) * _RATE_BAR, _BAR, "ceiling"))
    else:
        parts.append(_rect(_RATES, y, min(rate, 1) * _RATE_BAR, _BAR, dark))
    if high <= 1:
        across = f'x1="{_RATES + low * _RATE_BAR:.1f}" x2="{_RATES + high * _RATE_BAR:.1f}"'
        parts.append(f'<line {across} y1="{y + _BAR / 2}" y2="{y + _BAR / 2}" class="spread"/>')
    shown = min(server, 1)
    parts += [
        *_cut(_RATES + _RATE_BAR, y, beyond=rate > 1),
        _text(
            _RATES + min(max(rate, high), 1) * _RATE_BAR + 8,
            base,
            number(result.middle("per_second")) + times,
            name,
        ),
        _rect(_COSTS, y, shown * _COST_BAR, _BAR, dark),
        _rect(
            _COSTS + shown * _COST_BAR,
            y,
            (min(server + postgres, 1) - shown) * _COST_BAR,
            _BAR,
            light,
        ),
        *_cut(_COSTS + _COST_BAR, y, beyond=server + postgres > 1.001),
        _text(
            _COSTS + min(server + postgres, 1) * _COST_BAR + 8,
            base,
            number(result.middle("cpu")) + cost,
            name,
        ),
        _text(_WIDTH - _MARGIN - 80, base, number(result.middle("p50")), "end"),
        _text(_WIDTH - _MARGIN, base, number(result.middle("p99")), "end"),
    ]
    return parts


def _cut(x: float, y: float, *, beyond: bool) -> list[str]:
    """Show that a bar is longer than there is room for."""
    if not beyond:
        return []
    left, top, bottom = x - 16, y - 1, y + _BAR + 1
    points = f"{left},{bottom} {left + 5},{bottom} {left + 10},{top} {left + 5},{top}"
    return [f'<polygon points="{points}" class="cut"/>']


if __name__ == "__main__":
    main()
