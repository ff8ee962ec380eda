"""What was measured, as a table in Markdown and as a file from which the picture is drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec


class Measured(NamedTuple):
    """One round of one side."""

    per_second: float
    p50: float  # milliseconds
    p99: float
    server_cpu: float  # microseconds for a request
    postgres_cpu: float
    others: float = 0.0
    """The share of the machine's processors that other work had meanwhile."""

    @property
    def cpu(self) -> float:
        """Give the processor time of a request, of the server and of Postgres."""
        return self.server_cpu + self.postgres_cpu


def together(*parts: Measured) -> Measured:
    """Give the mean of the parts of a round, which took the same time.

    What is told of a request counts more in a part that has more of them.
    """
    requests = sum(part.per_second for part in parts)

    def of_one(name: str) -> float:
        return float(sum(getattr(part, name) * part.per_second for part in parts) / requests)

    return Measured(
        requests / len(parts),
        of_one("p50"),
        of_one("p99"),
        of_one("server_cpu"),
        of_one("postgres_cpu"),
        sum(part.others for part in parts) / len(parts),
    )


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


MAX_OTHERS: Final = 0.05
"""Above this share of other work, ratios can't be compared with those of another run."""


def ratios(mine: Result, theirs: Result, name: str) -> list[float]:
    """Give the rounds' own ratios, ours to theirs."""
    pairs = zip(mine.rounds, theirs.rounds, strict=True)
    return [getattr(a, name) / max(getattr(b, name), 1e-9) for a, b in pairs]


def ratio(mine: Result, theirs: Result, name: str) -> float:
    """Give the median of the rounds' own ratios."""
    return float(median(ratios(mine, theirs, name)))


def head(mine: str = "ours", theirs: str = "theirs") -> str:
    """Write the head of the table, with the names of the first side and of the others."""
    return (
        "| case | side | bytes | requests/s | lowest to highest | p50 ms | p99 ms |"
        " service CPU µs | Postgres CPU µs | other work |"
        f" {mine} ÷ {theirs}, requests | of the rounds | {mine} ÷ {theirs}, CPU |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )


def number(value: float) -> str:
    """Write a number with as many digits as tell it apart from others."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def row(result: Result, mine: Result) -> str:
    """Write a row of the table."""
    of_rounds = ratios(mine, result, "per_second")
    cells = [
        result.case,
        result.side,
        f"{result.size:,}" if result.size else "",
        number(result.middle("per_second")),
        f"{number(min(result.rates))} to {number(max(result.rates))}",
        *(f"{result.middle(name):.2f}" for name in ("p50", "p99")),
        *(f"{result.middle(name):,.0f}" for name in ("server_cpu", "postgres_cpu")),
        f"{result.middle('others'):.0%}",
        f"{ratio(mine, result, 'per_second'):.2f}",
        f"{min(of_rounds):.2f} to {max(of_rounds):.2f}",
        f"{ratio(mine, result, 'cpu'):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(report: Report) -> str:
    """Write the table of a run, with what was not measured behind it."""
    rows = [row(result, results[0]) for results in report.cases for result in results]
    missing = [f"- {each}" for each in report.missing]
    if missing:
        missing = ["", "Not measured:", "", *missing]
    others = max(result.middle("others") for results in report.cases for result in results)
    if others > MAX_OTHERS:
        warning = f"Other work had up to {others:.0%} of the processors: compare no ratio with"
        missing = ["", f"{warning} one of another run.", *missing]
    lines = [f"{report.about}.", "", head(report.first, report.other), *rows, *missing]
    return "\n".join(lines) + "\n"


def save(report: Report, path: Path) -> None:
    """Keep what was measured, so that pictures can be drawn again."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def load(path: Path) -> Report:
    """Read what was measured."""
    return msgspec.json.decode(path.read_bytes(), type=Report)
