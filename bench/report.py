"""What `run.py` shows: a table in Markdown, and a picture of the requests a second as SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Final, NamedTuple

_BAR: Final = 18
_LABEL, _SCALE, _AFTER = 210, 420, 190
"""Pixels: the height of a bar, and the widths of the names, of the longest bar, of the numbers."""


class Measured(NamedTuple):
    """One round of one side."""

    per_second: float
    p50: float  # milliseconds
    p99: float
    server_cpu: float  # microseconds for a request
    postgres_cpu: float

    @property
    def cpu(self) -> float:
        """Give the processor time of a request, of the server and of Postgres."""
        return self.server_cpu + self.postgres_cpu


class Result(NamedTuple):
    """All rounds of one side of a case."""

    case: str
    side: str
    size: int  # bytes of an answer's body; 0 if there are several
    rounds: Sequence[Measured]

    def middle(self, name: str) -> float:
        """Give the median of a number over the rounds."""
        return median(getattr(measured, name) for measured in self.rounds)

    @property
    def rates(self) -> list[float]:
        """Give the requests a second of each round."""
        return [measured.per_second for measured in self.rounds]


def ratio(mine: Result, theirs: Result, name: str) -> float:
    """Give the median of the rounds' own ratios, ours to theirs."""
    pairs = zip(mine.rounds, theirs.rounds, strict=True)
    return median(getattr(a, name) / getattr(b, name) for a, b in pairs)


def head(mine: str = "ours", theirs: str = "theirs") -> str:
    """Write the head of the table, with the names of the first side and of the others."""
    return (
        "| case | side | bytes | requests/s | lowest to highest | p50 ms | p99 ms | server CPU µs |"
        f" Postgres CPU µs | {mine} ÷ {theirs}, requests | {mine} ÷ {theirs}, CPU |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )


def rate_text(per_second: float) -> str:
    """Write requests a second, with as many digits as tell them apart."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def row(result: Result, mine: Result) -> str:
    """Write a row of the table."""
    cells = [
        result.case,
        result.side,
        f"{result.size:,}" if result.size else "",
        rate_text(result.middle("per_second")),
        f"{rate_text(min(result.rates))} to {rate_text(max(result.rates))}",
        *(f"{result.middle(name):.2f}" for name in ("p50", "p99")),
        *(f"{result.middle(name):,.0f}" for name in ("server_cpu", "postgres_cpu")),
        *(f"{ratio(mine, result, name):.2f}" for name in ("per_second", "cpu")),
    ]
    return f"| {' | '.join(cells)} |"


def picture(cases: Sequence[Sequence[Result]], about: str, mine: str = "ours") -> str:
    """Draw a bar for each side, and a line from the lowest to the highest round.

    Each case has a scale of its own. The first side, which is named, is compared with the others.
    """
    parts = [
        f'<text x="0" y="{14 + 18 * place}">{escape(line)}</text>'
        for place, line in enumerate(textwrap.wrap(f"Requests a second; {about}", 105))
    ]
    y = 32 + 18 * len(parts)
    for results in cases:
        parts.append(f'<text x="0" y="{y}" class="case">{escape(results[0].case)}</text>')
        y += 10
        most = max(max(result.rates) for result in results)
        for place, result in enumerate(results):
            parts += _bar(result, results[0], most, y, "" if place == 0 else mine)
            y += _BAR + 6
        y += 30
    width = _LABEL + _SCALE + _AFTER
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" role="img">\n'
        f"<title>Requests a second, {escape(about)}</title>\n"
        "<style>text{font:13px sans-serif;fill:#222}.case{font-weight:bold}"
        ".ours{fill:#1b6e4f}.theirs{fill:#9aa5b1}.spread{stroke:#222}"
        "@media(prefers-color-scheme:dark){text{fill:#eee}.spread{stroke:#eee}}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _bar(result: Result, mine: Result, most: float, y: int, mine_name: str) -> list[str]:
    rate = result.middle("per_second")
    length, low, high = (_SCALE * n / most for n in (rate, min(result.rates), max(result.rates)))
    middle = y + _BAR / 2
    times = f" · {mine_name} {ratio(mine, result, 'per_second'):.2f} times" if mine_name else ""
    kind = "theirs" if mine_name else "ours"
    text = f"{rate_text(rate)}{times}"
    across = f'x1="{_LABEL + low:.1f}" x2="{_LABEL + high:.1f}" y1="{middle}" y2="{middle}"'
    return [
        f'<text x="{_LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(result.side)}</text>',
        f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" class="{kind}"/>',
        f'<line {across} class="spread"/>',
        f'<text x="{_LABEL + max(length, high) + 6:.1f}" y="{y + 14}">{text}</text>',
    ]
