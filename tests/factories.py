"""Bodies for every noun, and what they need to exist.

A fifth noun is one entry of `BODIES`: what is least said of it, what is most, and what others need
of it. The contract, input, list and drift tests then cover it unasked.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import msgspec

from api.core.resource import Resource
from api.records.nouns import CONTROLLERS
from schemas.base import Part
from schemas.shapes import fields, shape
from schemas.vocabularies import RecordType
from schemas.walking import references

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection
Client = httpx.AsyncClient
Body = dict[str, Any]
Ids = Mapping[RecordType, str]
"""One live record of each type, for others to refer to."""

# An emoji and a flag before the words: offsets count code points, not UTF-16 units or bytes.
TEXT = (
    "SEOUL 🇰🇷 😀 — Lawmaker Lee claimed on Monday that at least 100 troops were killed,"
    " citing a closed briefing. The ministry declined to comment."
)
JSON = {"content-type": "application/json"}
MERGE_PATCH = {"content-type": "application/merge-patch+json"}


def unique() -> str:
    """Make a word that stands nowhere else."""
    return uuid4().hex


def span(role: str, exact: str) -> Body:
    """Describe where words stand in `TEXT`."""
    start = TEXT.index(exact)
    end = start + len(exact)
    return {
        "role": role,
        "start": start,
        "end": end,
        "exact": exact,
        "prefix": TEXT[max(start - 10, 0) : start],
        "suffix": TEXT[end : end + 10],
    }


def _every_record() -> Body:
    return {
        "external_ids": [{"namespace": "seed", "value": unique()}],
        "tags": ["war", "Kursk ⚔"],
        "note": "Looked at twice.",
    }


def _time() -> Body:
    return {
        "expression": "on Monday",
        "earliest": "2024-12-16",
        "latest": "2024-12-16T23:59:59Z",
        "precision": "day",
    }


def _statement(ids: Ids) -> Body:
    """Give what claims and denials have in common."""
    return {
        "language": "en",
        "attributions": [
            {
                "position": 0,
                "source_id": ids[RecordType.SOURCE],
                "via_id": None,
                "audience_id": None,
                "role": "spokesperson",
                "printed": "Lawmaker Lee",
                "cue": "claimed",
                "ground_rules": "on_record",
                "resolution": "probable",
                "note": "The only MP of that name.",
            },
            {
                "position": 1,
                "source_id": ids[RecordType.SOURCE],
                "via_id": ids[RecordType.SOURCE],
                "audience_id": ids[RecordType.SOURCE],
                "role": "cited",
                "printed": None,
                "cue": "citing",
                "ground_rules": None,
                "resolution": "certain",
                "note": None,
            },
        ],
        "appearances": [
            {
                "article_id": ids[RecordType.ARTICLE],
                "article_version": 1,
                "quote_type": "mixed",
                "stance": "distancing",
                "quote_language": "ko",
                "translated": True,
                "spans": [
                    span("content", "at least 100 troops were killed"),
                    span("source", "Lawmaker Lee"),
                ],
                "anchor": "exact",
            }
        ],
        "stated": _time(),
        "review_status": "published",
        "embargoed_until": "2024-12-20T08:30:00.250000Z",
        "extraction": {
            "method": "model",
            "agent": "reader",
            "agent_version": "3",
            "confidence": 0.75,
        },
    }


def _figure(qualifier: str, **more: Any) -> Body:
    return {
        "metric": "killed",
        "unit": "person",
        "qualifier": qualifier,
        "value": None,
        "lower": None,
        "upper": None,
        "term": None,
        "printed": "at least 100",
        "population": "North Korean soldiers",
        "cumulative": False,
        "as_of": "2024-12-16",
        "reading": None,
        **more,
    }


def _figures() -> list[Body]:
    return [
        _figure("at_least", lower=100),
        _figure("exact", value=12.5, metric="share_percent", unit="percent"),
        _figure("at_most", upper=10_000),
        _figure("between", lower=10, upper=20, value=12),
        _figure(
            "vague",
            term="several hundreds",
            reading={"lower": 200, "upper": 999, "rule": "style guide, several"},
        ),
    ]


def _full_source(ids: Ids) -> Body:
    other = ids[RecordType.SOURCE]
    return {
        **_every_record(),
        "kind": "group",
        "identification": "collective",
        "name": "The Ten",
        "description": "ten countries that signed",
        "names": [{"name": "Les Dix", "language": "fr", "kind": "transliteration"}],
        "roles": [
            {
                "title": "signatory",
                "organisation_id": other,
                "country_code": "KR",
                "from": "2019",
                "until": "2024-12-16",
            }
        ],
        "parent_id": other,
        "members": [{"source_id": other, "role": "signatory"}],
        "group_size": {"lower": 9, "upper": 10},
        "country_code": "KR",
        "url": "https://example.org/the-ten",
        "confidentiality": "internal",
        "relations": [
            {
                "source_id": other,
                "kind": "possibly_same_as",
                "basis": "computed",
                "state": "suggested",
                "note": "Both signed.",
            }
        ],
    }


def _full_article(ids: Ids) -> Body:
    return {
        **_every_record(),
        "headline": "Troops killed, lawmaker says",
        "url": f"https://example.org/articles/{unique()}",
        "publisher_id": ids[RecordType.SOURCE],
        "authors": [{"name": "A. Writer", "source_id": ids[RecordType.SOURCE], "role": "in Seoul"}],
        "language": "en-GB",
        "published": _time(),
        "dateline": "SEOUL, Dec. 16",
        "section": "World",
        "text": TEXT,
        "zones": [{"zone": "body", "start": 0, "end": len(TEXT)}],
        "status": "withheld",
        "corrections": [
            {
                "kind": "correction",
                "notice": "An earlier version gave another figure.",
                "published_at": "2024-12-17",
                "claim_ids": [ids[RecordType.CLAIM]],
                "effect": "figure_changed",
            }
        ],
        "relations": [{"article_id": ids[RecordType.ARTICLE], "kind": "rewrite_of"}],
        "archived_url": "https://archive.example.org/1",
        "embargoed_until": "2024-12-16T06:00:00Z",
        "kind": "post",
        "credits": [
            {"source_id": ids[RecordType.SOURCE], "role": "wire", "printed": "With agencies"}
        ],
    }


def _full_claim(ids: Ids) -> Body:
    return {
        **_every_record(),
        **_statement(ids),
        "text": "At least 100 North Korean soldiers were killed in Kursk.",
        "kind": "quantity",
        "speech_act": "claim",
        "certainty": "probable",
        "polarity": "negative",
        "embedding": "embedded",
        "parent_claim_id": ids[RecordType.CLAIM],
        "quantities": _figures(),
        "parties": [
            {"source_id": ids[RecordType.SOURCE], "role": "victim", "printed": "the troops"}
        ],
        "places": [
            {
                "role": "event",
                "name": "Kursk",
                "country_code": "RU",
                "qualifier": "mostly in",
                "latitude": 51.73,
                "longitude": 36,
                "precision": "province",
                "uncertainty_m": 100_000,
            }
        ],
        "occurred": _time(),
        "relations": [
            {
                "claim_id": ids[RecordType.CLAIM],
                "kind": "specifies",
                "basis": "computed",
                "state": "suggested",
                "confidence": 0.5,
                "note": "By the figure.",
            }
        ],
        "validity": "superseded",
        "assessments": [
            {
                "assessor": "Checkers",
                "scheme": "truth",
                "label": "half true",
                "value": 2.5,
                "best": 5,
                "worst": 1,
                "url": "https://example.org/check",
                "published_at": "2024-12-18",
                "explanation": "Not counted by anyone else.",
            }
        ],
    }


def _full_denial(ids: Ids) -> Body:
    target = {
        "claim_id": None,
        "denial_id": None,
        "article_id": None,
        "text": None,
        "coverage": "inferred",
        "aspect": "the figure",
    }
    return {
        **_every_record(),
        **_statement(ids),
        "text": "The ministry says no soldier was killed.",
        "kind": "full_denial",
        "observed_by": "article_observation",
        "scope_source_id": ids[RecordType.SOURCE],
        "targets": [
            {**target, "claim_id": ids[RecordType.CLAIM]},
            {**target, "denial_id": ids[RecordType.DENIAL]},
            {**target, "article_id": ids[RecordType.ARTICLE]},
            {**target, "text": "what the embassy had said"},
        ],
        "validity": "softened",
        "superseded_by_id": ids[RecordType.DENIAL],
        "quantities": _figures(),
    }


class Bodies(NamedTuple):
    """What can be written of a noun."""

    minimal: Body
    full: Callable[[Ids], Body]
    """Every property set to something else than its default, every type of reference used."""
    referred: Body
    """What a record has beyond the minimum for the full bodies of others to refer to it."""


BODIES: Mapping[RecordType, Bodies] = {
    RecordType.SOURCE: Bodies({"kind": "person", "name": "Lee"}, _full_source, {}),
    RecordType.ARTICLE: Bodies({"headline": "Troops killed"}, _full_article, {"text": TEXT}),
    RecordType.CLAIM: Bodies({"text": "Troops were killed."}, _full_claim, {}),
    RecordType.DENIAL: Bodies(
        {"text": "No.", "kind": "full_denial", "targets": [{"text": "a rumour"}]},
        _full_denial,
        {},
    ),
}


class Noun(NamedTuple):
    """A noun: what the application knows of it, and what the tests write of it."""

    resource: Resource
    bodies: Bodies

    @property
    def type(self) -> RecordType:
        """Which noun it is."""
        return self.resource.type

    @property
    def path(self) -> str:
        """Where its list is."""
        return self.resource.path

    def minimal(self, **more: Any) -> Body:
        """Write the least, and what is given."""
        return {**self.bodies.minimal, **more}

    def full(self, ids: Ids, **more: Any) -> Body:
        """Write the most, with what is given instead."""
        return {**self.bodies.full(ids), **more}

    def referred(self, **more: Any) -> Body:
        """Write what others can refer to, and what is given."""
        return {**self.bodies.minimal, **self.bodies.referred, **more}


def _nouns() -> Iterator[Noun]:
    """Find the resource of each controller that the application has."""
    for controller in CONTROLLERS:
        of_module = vars(sys.modules[controller.__module__]).values()
        (resource,) = (found for found in of_module if isinstance(found, Resource))
        yield Noun(resource, BODIES[resource.type])


EVERY: Mapping[RecordType, Noun] = {noun.type: noun for noun in _nouns()}


def complete(noun: Noun, body: Body) -> Body:
    """Give a body with every property that a client may write, as the schema fills it in."""
    given: Body = msgspec.to_builtins(msgspec.convert(body, noun.resource.create))
    return given


def content(noun: Noun, record: Body) -> Body:
    """Give what a client may write of a record."""
    return {field.encode_name: record[field.encode_name] for field in fields(noun.resource.create)}


def referrer(to: RecordType) -> Noun:
    """Find a noun whose full body refers to a type."""
    ids = {of: str(uuid4()) for of in RecordType}
    for noun in EVERY.values():
        record = msgspec.convert(noun.full(ids), noun.resource.create)
        if any(reference.to == to for reference in references(record)):
            return noun
    raise LookupError(to)


def untold(struct: type[Part], *values: Body) -> Iterator[str]:
    """Yield the fields that none of some JSON objects says anything of, nested ones included."""
    for field in fields(struct):
        name, found = field.encode_name, shape(field.type)
        given = [value[name] for value in values if value.get(name) not in (None, [])]
        if not given:
            yield name
        elif isinstance(found.kind, type) and issubclass(found.kind, Part):
            inner = [item for items in given for item in (items if found.many else [items])]
            yield from (f"{name}.{below}" for below in untold(found.kind, *inner))


# --- over HTTP -------------------------------------------------------------------------------


class Stored(NamedTuple):
    """A record that is there."""

    path: str
    etag: str
    record: Body

    @property
    def id(self) -> str:
        """Its id."""
        found: str = self.record["id"]
        return found

    @property
    def match(self) -> dict[str, str]:
        """The header that says that this version is the one to change."""
        return {"if-match": self.etag}


def stored(noun: Noun, response: httpx.Response) -> Stored:
    """Read a record off an answer."""
    assert response.status_code in {200, 201}, response.text
    record = response.json()
    return Stored(f"{noun.path}/{record['id']}", response.headers["etag"], record)


async def create(client: httpx.AsyncClient, noun: Noun, body: Body | None = None) -> Stored:
    """Create a record; the minimal one unless told."""
    response = await client.post(noun.path, json=noun.minimal() if body is None else body)
    assert response.status_code == 201, response.text
    return stored(noun, response)


async def delete(client: httpx.AsyncClient, record: Stored) -> str:
    """Delete a record; gives the tombstone's ETag."""
    response = await client.delete(record.path, headers=record.match)
    assert response.status_code == 204, response.text
    tombstone: str = response.headers["etag"]
    return tombstone


async def prerequisites(client: httpx.AsyncClient) -> dict[RecordType, str]:
    """Create one record of each type for others to refer to."""
    return {
        type_: (await create(client, noun, noun.referred())).id for type_, noun in EVERY.items()
    }


async def count_rows(connection: Connection) -> dict[str, int]:
    """Count the rows of every table: what is compared to show that nothing was written.

    What the service writes behind everybody's back is left out: the feed, its blocks, the words of
    records, pairs of sources, the clock of embargoes, deliveries to webhooks, and refusals in the
    audit log, which come after their answers. Re-pointing after a merge touches all tables, so it
    is waited for.
    """
    async with asyncio.timeout(_PATIENCE):
        while await connection.fetchval(_REPOINTING):  # noqa: ASYNC110 - tables tell nobody
            await asyncio.sleep(0.02)
    names = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL($1)"
        " ORDER BY tablename",
        _BEHIND_EVERYBODY,
    )
    counts = " UNION ALL ".join(
        f"SELECT '{name}' AS name, count(*) AS rows FROM {name}"
        f"{_BUT_REFUSALS if name == 'audit' else ''}"
        for (name,) in names
    )
    return {row["name"]: row["rows"] for row in await connection.fetch(counts)}


_BEHIND_EVERYBODY: Final = (
    *("feed", "feed_states", "feed_blocks"),
    *("word_counts", "claim_words", "name_words"),
    *("duplicate_pairs", "duplicate_progress"),
    *("embargo_clock", "webhook_deliveries"),
)
_BUT_REFUSALS: Final = " WHERE op <> 'refused'"
_REPOINTING: Final = """
    SELECT EXISTS (SELECT FROM source_merges WHERE state IN ('repointing', 'restoring'))"""
_PATIENCE: Final = 120
"""Seconds after which counting gives up."""
