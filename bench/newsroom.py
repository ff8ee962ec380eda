"""Invented records of a newsroom, varied enough for the questions of `questions.py`.

They are those of `records.py`, with what an editor asks about added by their numbers: kinds,
figures, days, places, tags, relations, ratings, and responses to one claim in ten. The first
100,000 claims are written through the triggers, with `COPY`; the others are copies of their rows
(`copies.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import asyncpg
import copies  # beside this file
import records  # likewise
from loading import BATCH, Kind, fill  # likewise

from schemas.articles import ArticleCreate
from schemas.claims import ClaimCreate
from schemas.denials import DenialCreate
from schemas.sources import SourceCreate

SHARES: Final = {"tenth": 10, "hundredth": 100}
"""Tags, and of how many claims one has each."""
_FIRST_DAY: Final = date(2019, 1, 1)
_DAYS: Final = 2_000
_COUNTRIES: Final = ("RU", "UA", "KR", "KP", "US", "FR", "SD", "CO")
_METRICS: Final = ("killed", "injured", "killed_or_wounded", "deployed", "missing")
_KINDS: Final = (
    "quantity",
    "event",
    "quantity",
    "accusation",
    "quantity",
    "prediction",
    "position",
)
_RESPONSES: Final = (
    "full_denial",
    "declined_to_comment",
    "counter_accusation",
    "did_not_respond",
    "apology",
    "partial_denial",
)


def source_id(number: int) -> str:
    """Give the id of a source, whatever the number."""
    return records.record_id(1, number % records.SOURCES)


def claim_id(number: int) -> str:
    """Give the id of a claim."""
    return records.record_id(3, number)


def source(number: int) -> dict[str, Any]:
    """Invent a source: a state, a body of one, a person, or a group of two."""
    found = records.source(number) | {"identification": "named"}
    found["country_code"] = _COUNTRIES[number // 10 % len(_COUNTRIES)]
    if number % 10 == 0:
        found["kind"] = "state"
    elif number % 50 == 7:
        members = [{"source_id": source_id(number - n), "role": "member"} for n in (1, 2)]
        found |= {"kind": "group", "members": members}
    else:
        found |= {
            "kind": "person" if number % 3 else "government_body",
            "parent_id": source_id(number - number % 10),
        }
    return found


def article(number: int) -> dict[str, Any]:
    """Invent an article; one in four is a copy of the one before it."""
    found = records.article(number) | {"published": _time(number)}
    if number % 4 == 1:
        copied = {"article_id": records.record_id(2, number - 1), "kind": "syndicated_copy_of"}
        found["relations"] = [copied]
    return found


def claim(number: int) -> dict[str, Any]:
    """Invent a claim; one in ten has the tag `tenth`, and one in a hundred the tag `hundredth`."""
    found = records.claim(number, f"c{number}")
    found |= {
        "kind": _KINDS[number % len(_KINDS)],
        "stated": _time(number),
        "occurred": _time(number + 1),
        "tags": ["war", f"topic-{number % 37}"],
        "review_status": "in_review" if number % 50 == 49 else "published",
    }
    # Spread by a large odd number, or else it would only hit certain kinds and metrics.
    spread = number * 2_654_435_761 % 2**32 / 2**32
    found["tags"] += [tag for tag, share in SHARES.items() if spread < 1 / share]
    (appearance,) = found["appearances"]
    appearance["quote_type"] = "direct" if number % 4 == 0 else "indirect"
    appearance["stance"] = "distancing" if number % 7 == 0 else "neutral"
    if number % 20 == 19:
        found["attributions"] = [{"printed": "it is said", "resolution": "unresolved"}]
    if found["kind"] == "quantity":
        lower = number % 3_000
        (figure,) = found["quantities"]
        figure |= {"lower": lower, "metric": _METRICS[number % len(_METRICS)]}
        figure |= {"printed": f"at least {lower}", "population": f"group {number % 40}"}
    else:
        found["quantities"] = []
    if number % 3 == 0:
        found["places"] = [_place(number)]
    if number % 5:
        head = claim_id(number - number % 5)
        found["relations"] = [{"claim_id": head, "kind": _relation(number)}]
    if number % 40 == 0:
        label = "false" if number % 80 else "true"
        found["assessments"] = [
            {"assessor": f"Checker {number // 40 % 20}", "scheme": "truth", "label": label}
        ]
    return found


def denial(number: int) -> dict[str, Any]:
    """Invent a response to a claim; one in ten also answers the response before it."""
    targets: list[dict[str, str]] = [{"claim_id": claim_id(number * 10)}]
    if number % 10 == 9:
        targets.append({"denial_id": records.record_id(4, number - 1)})
    silent = _RESPONSES[number % len(_RESPONSES)] == "did_not_respond"
    return {
        "text": f"The office says that the report number {number} is not so.",
        "language": "en",
        "kind": _RESPONSES[number % len(_RESPONSES)],
        "observed_by": "article_observation" if silent else "responder_statement",
        "targets": targets,
        "attributions": [{"source_id": source_id(number * 7)}],
        "appearances": [{"article_id": records.record_id(2, number % records.ARTICLES)}],
        "stated": _time(number * 10 + 3),
        "validity": "retracted" if number % 30 == 29 else "standing",
        "review_status": "published",
    }


def _relation(number: int) -> str:
    return ("", "restates", "same_origin_as", "conflicts_with", "corroborates")[number % 5]


def _place(number: int) -> dict[str, Any]:
    """Invent a place; the places lie on a grid of a tenth of a degree."""
    return {
        "role": "event",
        "name": f"Town {number % 5_000}",
        "country_code": _COUNTRIES[number % len(_COUNTRIES)],
        "latitude": round(-60 + number % 1_201 / 10, 1),
        "longitude": round(-180 + number % 3_599 / 10, 1),
        "precision": "near",
    }


def _time(number: int) -> dict[str, str]:
    day = _FIRST_DAY + timedelta(days=number * 7 % _DAYS)
    return {"expression": "on that day", "earliest": day.isoformat(), "precision": "day"}


# --- loading -------------------------------------------------------------------------------------


async def load(url: str, claims: int, tell: Callable[[str], None]) -> None:
    """Write so many claims, and what belongs to them; a load that was stopped is taken up again."""
    connection = await asyncpg.connect(url, command_timeout=3_600)
    last = claim_id(claims - 1)
    try:
        if await connection.fetchval("SELECT EXISTS (SELECT FROM claims WHERE id = $1)", last):
            return
        await fill(connection, _SOURCES, records.SOURCES)
        await fill(connection, _ARTICLES, records.ARTICLES)
        written = min(claims, copies.WRITTEN)
        for more in range(BATCH, written + BATCH, BATCH):
            await fill(connection, _CLAIMS, min(more, written))
            await fill(connection, _DENIALS, min(more, written) // 10)
            tell(f"{min(more, written):,} claims written")
        if claims > copies.WRITTEN:
            await copies.multiply(connection, claims // copies.WRITTEN, tell)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


_SOURCES: Final = Kind("sources", 1, SourceCreate, source)
_ARTICLES: Final = Kind("articles", 2, ArticleCreate, article)
_CLAIMS: Final = Kind("claims", 3, ClaimCreate, claim)
_DENIALS: Final = Kind("denials", 4, DenialCreate, denial)
