"""What was measured, as a table in Markdown and as a file from which the picture is drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec


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
        return float(median(getattr(measured, name) for measured in self.rounds))

    @property
    def rates(self) -> list[float]:
        """Give the requests a second of each round."""
        return [measured.per_second for measured in self.rounds]

    @property
    def is_ceiling(self) -> bool:
        """Tell whether this is no peer, but what nobody can pass."""
        return self.side.startswith("ceiling")


class Report(msgspec.Struct, kw_only=True):
    """All that one run found; the first side of each case is compared with the others."""

    title: str
    about: str
    """Machine, connections, rounds, day."""
    first: str = "ours"
    """The name of the first side in comparisons, such as “smallest”."""
    other: str = "theirs"
    cases: list[list[Result]]
    missing: list[str] = []
    """What was not measured, and why, as sentences."""
    is_ranked: bool = True
    """Whether the picture shows the fastest side first, instead of the order given."""


def ratio(mine: Result, theirs: Result, name: str) -> float:
    """Give the median of the rounds' own ratios, ours to theirs."""
    pairs = zip(mine.rounds, theirs.rounds, strict=True)
    return float(median(getattr(a, name) / max(getattr(b, name), 1e-9) for a, b in pairs))


def head(mine: str = "ours", theirs: str = "theirs") -> str:
    """Write the head of the table, with the names of the first side and of the others."""
    return (
        "| case | side | bytes | requests/s | lowest to highest | p50 ms | p99 ms |"
        " service CPU µs | Postgres CPU µs |"
        f" {mine} ÷ {theirs}, requests | {mine} ÷ {theirs}, CPU |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )


def number(value: float) -> str:
    """Write a number with as many digits as tell it apart from others."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def row(result: Result, mine: Result) -> str:
    """Write a row of the table."""
    cells = [
        result.case,
        result.side,
        f"{result.size:,}" if result.size else "",
        number(result.middle("per_second")),
        f"{number(min(result.rates))} to {number(max(result.rates))}",
        *(f"{result.middle(name):.2f}" for name in ("p50", "p99")),
        *(f"{result.middle(name):,.0f}" for name in ("server_cpu", "postgres_cpu")),
        *(f"{ratio(mine, result, name):.2f}" for name in ("per_second", "cpu")),
    ]
    return f"| {' | '.join(cells)} |"


def table(report: Report) -> str:
    """Write the table of a run, with what was not measured behind it."""
    rows = [row(result, results[0]) for results in report.cases for result in results]
    missing = [f"- {each}" for each in report.missing]
    if missing:
        missing = ["", "Not measured:", "", *missing]
    lines = [f"{report.about}.", "", head(report.first, report.other), *rows, *missing]
    return "\n".join(lines) + "\n"


def save(report: Report, path: Path) -> None:
    """Keep what was measured, so that pictures can be drawn again."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def load(path: Path) -> Report:
    """Read what was measured."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
