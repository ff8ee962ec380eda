"""Invented records for the measurements: always the same ones, of a usual size.

A claim is about 1.7 kB as it is published: two hops, a vehicle, a party, a figure, and one
appearance with a span that stands in the article's text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from schemas.claims import ClaimCreate

ARTICLES: Final = 5_000
SOURCES: Final = 1_000
UNIQUE: Final = "@unique@"  # wrk.lua puts a word of its own there, for each request
COLUMNS: Final = ", ".join(ClaimCreate.__struct_fields__)
"""What a client writes of a claim, as a list of columns."""

_LEAD: Final = (
    "SEOUL — Lawmaker Lee claimed on Monday that at least 100 troops were killed, citing a closed"
    " briefing by the intelligence service. "
)
_FILLER: Final = "Nobody who was asked about it could say where the figure came from. " * 18
TEXT: Final = _LEAD + _FILLER


def record_id(kind: int, number: int) -> str:
    """Give the id of a source (1), article (2) or claim (3): a UUIDv7 by its form."""
    return str(UUID(int=(kind << 112) | (0x7 << 76) | (0x2 << 62) | number))


def lines(claims: int) -> Iterator[bytes]:
    """Write everything as lines to import, what others refer to first."""
    for number in range(SOURCES):
        yield _line("source", record_id(1, number), source(number))
    for number in range(ARTICLES):
        yield _line("article", record_id(2, number), article(number))
    for number in range(claims):
        yield _line("claim", record_id(3, number), claim(number, f"c{number}"))


def _line(kind: str, identity: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "id": identity, "data": data}).encode()


def source(number: int) -> dict[str, Any]:
    """Invent a source."""
    return {
        "kind": "government_body",
        "name": f"Office number {number} of public information",
        "names": [{"name": f"OPI{number}", "language": "en", "kind": "short"}],
        "country_code": "KR",
        "external_ids": [{"namespace": "bench", "value": f"s{number}"}],
    }


def article(number: int) -> dict[str, Any]:
    """Invent an article of about 1.4 kB of text."""
    return {
        "headline": f"Troops killed, lawmaker says ({number})",
        "url": f"https://news.example/{number}",
        "publisher_id": record_id(1, number % SOURCES),
        "authors": [{"name": "A. Writer"}],
        "language": "en",
        "text": TEXT,
        "published": _time(),
        "external_ids": [{"namespace": "bench", "value": f"a{number}"}],
    }


def claim(number: int, name: str) -> dict[str, Any]:
    """Invent a claim; its sources and its article are drawn by its number."""
    draw = random.Random(number)  # noqa: S311 - nothing here is secret
    lee, service, briefing, victim = (record_id(1, n) for n in draw.sample(range(SOURCES), 4))
    return {
        "text": f"At least {number} troops of the expeditionary force were killed in one month.",
        "language": "en",
        "kind": "quantity",
        "speech_act": "claim",
        "attributions": [
            {"source_id": lee, "cue": "claimed", "printed": "Lawmaker Lee"},
            {"position": 1, "source_id": service, "via_id": briefing, "role": "cited"},
        ],
        "appearances": [
            {
                "article_id": record_id(2, draw.randrange(ARTICLES)),
                "quote_type": "indirect",
                "article_version": 1,
                "anchor": "exact",
                "spans": [_span("content", "at least 100 troops were killed")],
            }
        ],
        "quantities": [
            {
                "metric": "killed",
                "unit": "person",
                "qualifier": "at_least",
                "lower": number,
                "printed": f"at least {number}",
            }
        ],
        "parties": [{"source_id": victim, "role": "victim", "printed": "troops"}],
        "stated": _time(),
        "review_status": "published",
        "external_ids": [{"namespace": "bench", "value": name}],
        "tags": ["war"],
    }


def bodies(count: int, *, each: bool = False) -> Iterator[str]:
    """Write claims to create, with every property spelled out, since PostgREST fills in none.

    They have external ids of their own within one request, if `each` has one.
    """
    for number in range(count):
        name = f"{UNIQUE}-{number}" if each else UNIQUE
        record = msgspec.convert(claim(number, name), ClaimCreate)
        yield msgspec.json.encode(record).decode()


def import_lines(count: int) -> str:
    """Write the same claims as lines to import."""
    lines = (f'{{"type":"claim","data":{body}}}\n' for body in bodies(count, each=True))
    return "".join(lines)


def _time() -> dict[str, str]:
    return {"expression": "on Monday", "earliest": "2024-12-16", "precision": "day"}


def _span(role: str, exact: str) -> dict[str, Any]:
    start = TEXT.index(exact)
    end = start + len(exact)
    prefix, suffix = TEXT[max(start - 10, 0) : start], TEXT[end : end + 10]
    return {
        "role": role, "start": start, "end": end, "exact": exact,
        "prefix": prefix, "suffix": suffix,
    }  # fmt: skip
