"""The examples of the OpenAPI document: one small story, with a record of each type.

The ids are those of the sample records that `serve --demo` loads, and the text is the beginning of
the sample report, so that every example can be tried out on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from schemas.vocabularies import FAMILY_OF, DenialKind, RecordType


class Example(NamedTuple):
    """A record as a client writes it, and a change to it."""

    id: str
    minimal: Mapping[str, Any]
    create: Mapping[str, Any]
    update: Mapping[str, Any]
    # What the server derives from the record's content.
    computed: Mapping[str, Any] = {}


SOURCE_ID: Final = "43d7a894-4799-5672-9a9e-631b21cdba56"
ARTICLE_ID: Final = "e3e15aa6-e786-59e7-a9dd-7c59879af3d4"
CLAIM_ID: Final = "147fa90f-1ccf-53d4-af97-3da31ce125f2"
DENIAL_ID: Final = "a18130b6-f031-5589-86cb-279049c0d3ef"

_MP: Final = "786576d0-4709-5055-b301-396388fc9523"
_BRIEFING: Final = "2a5e622e-ab61-58f4-98e7-1d52fd1f39f0"
MINISTRY_ID: Final = "ab9c18ad-d6d3-5246-8a1d-f3c48cf18c9d"
STATEMENT_ID: Final = "426aca73-dd61-5a2c-bae8-a0b98af35fdc"
OFFICIAL_ID: Final = "74fcaf67-fe3c-5db9-9044-b30eba886d59"
PENTAGON_ID: Final = "c88fe624-31af-5101-80ba-04d49a8ffb9c"

OTHERS: Final[Mapping[str, Mapping[str, Any]]] = {
    _MP: {"kind": "person", "name": "Lee Seong-kweun"},
    _BRIEFING: {"kind": "briefing", "description": "briefing in South Korea’s parliament"},
    MINISTRY_ID: {"kind": "government_body", "name": "Foreign ministry of North Korea"},
    STATEMENT_ID: {
        "kind": "document",
        "description": "statement of North Korea’s foreign ministry",
    },
    OFFICIAL_ID: {"kind": "person", "description": "a US official", "identification": "anonymous"},
    PENTAGON_ID: {"kind": "government_body", "name": "the Pentagon"},
}
"""The other sources that the examples refer to, by id."""

_PARTS: Final = {
    "headline": "Seoul MP: 100 or more North Koreans dead in Russia’s war",
    "standfirst": "Officials in three countries give three different tolls; Pyongyang’s own "
    "statement gives none",
    "boilerplate": "🌊 The Morning Tide: the world before breakfast, free by e-mail six days a "
    "week",
    "body": "SEOUL – At least 100 soldiers from North Korea have died on Russia’s side of the war, "
    "the MP Lee Seong-kweun claimed on Thursday, with the number of injured “approaching 1,000”. "
    "He was passing on what the National Intelligence Service had told members at a briefing in "
    "parliament. Another contingent may follow, he added.",
}
_TEXT: Final = "\n".join(_PARTS.values())


def _zones() -> list[dict[str, Any]]:
    return [
        {"zone": zone, "start": _TEXT.index(words), "end": _TEXT.index(words) + len(words)}
        for zone, words in _PARTS.items()
    ]


def _span(role: str, exact: str) -> dict[str, Any]:
    start = _TEXT.index(exact)
    return {
        "role": role,
        "start": start,
        "end": start + len(exact),
        "exact": exact,
        "prefix": _TEXT[max(start - 12, 0) : start],
        "suffix": _TEXT[start + len(exact) :][:12],
    }


def _named(value: str) -> list[dict[str, str]]:
    return [{"namespace": "demo", "value": value}]


EXAMPLES: Final[Mapping[RecordType, Example]] = {
    RecordType.SOURCE: Example(
        SOURCE_ID,
        minimal={"kind": "person", "name": "Lee Seong-kweun"},
        create={
            "kind": "government_body",
            "name": "National Intelligence Service",
            "names": [{"name": "NIS", "language": "en", "kind": "short"}],
            "country_code": "KR",
            "external_ids": _named("nis"),
            "tags": ["intelligence"],
        },
        update={"url": "https://www.nis.go.kr/", "tags": ["intelligence", "asia"]},
        computed={"merged_into_id": None},
    ),
    RecordType.ARTICLE: Example(
        ARTICLE_ID,
        minimal={"headline": "Seoul MP: 100 or more North Koreans dead in Russia’s war"},
        create={
            "headline": _PARTS["headline"],
            "url": "https://harbour-courier.example/world/2024/12/20/tolls",
            "authors": [{"name": "World desk"}],
            "language": "en",
            "published": {"earliest": "2024-12-20", "latest": "2024-12-20", "precision": "day"},
            "text": _TEXT,
            "zones": _zones(),
            "external_ids": _named("report"),
        },
        update={"section": "World", "published": {"earliest": "2024-12-20T06:15:00Z"}},
        computed={
            "text_sha256": sha256(_TEXT.encode()).hexdigest(),
            "text_length": len(_TEXT),
            "headline_derived": False,
        },
    ),
    RecordType.CLAIM: Example(
        CLAIM_ID,
        minimal={"text": "At least 100 North Korean soldiers have been killed"},
        create={
            "text": "At least 100 North Korean soldiers have been killed fighting for Russia",
            "language": "en",
            "kind": "quantity",
            "speech_act": "claim",
            "attributions": [
                {
                    "position": 0,
                    "source_id": _MP,
                    "printed": "the MP Lee Seong-kweun",
                    "cue": "claimed",
                },
                {
                    "position": 1,
                    "source_id": SOURCE_ID,
                    "via_id": _BRIEFING,
                    "role": "cited",
                    "printed": "the National Intelligence Service",
                    "cue": "had told members",
                },
            ],
            "appearances": [
                {
                    "article_id": ARTICLE_ID,
                    "spans": [
                        _span(
                            "content",
                            "At least 100 soldiers from North Korea have died on Russia’s side of "
                            "the war",
                        ),
                        _span("cue", "claimed"),
                    ],
                }
            ],
            "quantities": [
                {
                    "metric": "killed",
                    "unit": "person",
                    "qualifier": "at_least",
                    "lower": 100,
                    "printed": "At least 100",
                }
            ],
            "stated": {
                "expression": "on Thursday",
                "earliest": "2024-12-19",
                "latest": "2024-12-19",
                "precision": "day",
            },
            "external_ids": _named("killed-100"),
        },
        update={"review_status": "published", "note": "Second source wanted."},
    ),
    RecordType.DENIAL: Example(
        DENIAL_ID,
        minimal={
            "text": "North Korea and Russia neither confirm nor deny the deliveries",
            "kind": "neither_confirms_nor_denies",
            "targets": [{"text": "the deliveries of artillery and ballistic missiles"}],
        },
        create={
            "text": "North Korea’s statement does not mention the losses",
            "language": "en",
            "kind": "omission",
            "scope_source_id": STATEMENT_ID,
            "targets": [{"claim_id": CLAIM_ID, "coverage": "inferred"}],
            "attributions": [
                {
                    "source_id": MINISTRY_ID,
                    "via_id": STATEMENT_ID,
                    "printed": "Pyongyang’s own statement",
                }
            ],
            "appearances": [
                {
                    "article_id": ARTICLE_ID,
                    "quote_type": "narrated",
                    "spans": [
                        _span("source", "Pyongyang’s own statement"),
                        _span("cue", "gives none"),
                    ],
                }
            ],
            "external_ids": _named("silent-on-losses"),
        },
        update={"review_status": "published", "tags": ["casualties"]},
        computed={"family": FAMILY_OF[DenialKind.OMISSION].value},
    ),
}
"""An example of each type of record, in an order fit for writing them."""

KEY_ID: Final = "0a1b2c3d4e5f"
"""The key by which examples are written."""

WEBHOOK_ID: Final = "01938f7a-4c00-7000-8000-00000000000c"
CURSOR: Final = "Z3VlsbRzXQkwC-5bIjVmYzAxYWU5ZDAyYiIsNDIsIjlmM2MwNzFhMmI0ZCIsMTUsNDBd"
"""A place in the change feed."""
PAGE_CURSOR: Final = "Z3VlsbRzXQkwC-5bIjIwMjQtMTItMTlUMTA6MDA6MDAuMjUwMDAwWiIsNDJd"
"""A place in a list."""
MESSAGE_ID: Final = "msg_0123456789abcdef0123456789abcdef01234567"
AT: Final = "2024-12-19T10:00:00.250000Z"
CHANGED_AT: Final = "2024-12-19T11:30:00.750000Z"

PARAMETERS: Final[Mapping[str, Any]] = {
    "atomic": True,
    "assessment_label": "mostly true",
    "assessor": "Harbour Fact Check",
    "attributed": False,
    "bbox": "124.5,33,132,43.1",
    "credited": False,
    "text_target": True,
    "responded": True,
    "count": "exact",
    "country_code": "KR",
    "cursor": PAGE_CURSOR,
    "dry_run": True,
    "external_namespace": "demo",
    "external_value": "killed-100",
    "key_id": KEY_ID,
    "language": "en",
    "limit": 20,
    "metric": "killed",
    "unit": "person",
    "population": "north korean soldiers",
    "name": "lee",
    "name__startswith": "le",
    "parent_claim_id": "ff9367ea-6233-5588-9691-72eec37532bc",
    "parent_id": "7137827d-b092-505b-b84e-46df689f123b",
    "place": "Kursk",
    "place_country_code": "RU",
    "publisher_id": "162343fa-59e3-5fbc-8c1f-1a7cf809eb84",
    "claimant_id": _MP,
    "responder_id": MINISTRY_ID,
    "scope_source_id": STATEMENT_ID,
    "via_id": _BRIEFING,
    "q": '"North Korea" -missiles',
    "quantity_from": 50,
    "quantity_to": 500,
    "record_id": CLAIM_ID,
    "sort": "-updated_at",
    "tag": "casualties",
    "types": ["claim", "denial"],
    "url": "https://harbour-courier.example/world/2024/12/20/tolls",
    "wait": 30,
}
"""Values of the parameters in queries, where their type does not say one."""

HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "Accept-Patch": "application/merge-patch+json",
    "Access-Control-Allow-Origin": "https://desk.example",
    "Cache-Control": "no-cache",
    "Content-Disposition": 'attachment; filename="claims.csv"',
    "Content-Encoding": "zstd",
    "Content-Location": f"/v1/claims/{CLAIM_ID}",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Deprecation": "@1767225600",
    "ETag": f'"{CLAIM_ID}.1.1"',
    "Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    "Idempotency-Replayed": "true",
    "If-Match": f'"{CLAIM_ID}.1.1"',
    "If-None-Match": f'"{CLAIM_ID}.1.1"',
    "Last-Event-ID": CURSOR,
    "Link": f'</v1/claims?cursor={PAGE_CURSOR}>; rel="next"',
    "Location": f"/v1/claims/{CLAIM_ID}",
    "RateLimit": '"default";r=5999;t=1',
    "RateLimit-Policy": '"default";q=6000;w=60',
    "Referrer-Policy": "no-referrer",
    "Retry-After": "1",
    "Sunset": "Fri, 01 Jan 2027 00:00:00 GMT",
    "Vary": "Accept-Encoding",
    "WWW-Authenticate": "Bearer",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
    "X-Request-Id": "01938f7a-4c00-7000-8000-00000000002a",
    "webhook-id": MESSAGE_ID,
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    "webhook-timestamp": "1734602400",
}
"""Values of the headers of requests and answers."""
