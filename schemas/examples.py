"""One small story in four records: the examples of the OpenAPI document, which really run."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from schemas.vocabularies import FAMILY_OF, DenialKind, RecordType


class Example(NamedTuple):
    """A record as a client writes it, and a change to it."""

    id: str
    create: Mapping[str, Any]
    update: Mapping[str, Any]
    # What the server derives from the record's content.
    computed: Mapping[str, Any] = {}


_SOURCE: Final = "01938f7a-4c00-7000-8000-000000000001"
_ARTICLE: Final = "01938f7a-4c00-7000-8000-000000000002"
CLAIM_ID: Final = "01938f7a-4c00-7000-8000-000000000003"
_DENIAL: Final = "01938f7a-4c00-7000-8000-000000000004"

_TEXT: Final = (
    "At least 100 soldiers have been killed, an MP said on Thursday, citing a briefing by the "
    "intelligence service. The defence ministry declined to comment."
)


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
    return [{"namespace": "example", "value": value}]


EXAMPLES: Final[Mapping[RecordType, Example]] = {
    RecordType.SOURCE: Example(
        _SOURCE,
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
        _ARTICLE,
        create={
            "headline": "At least 100 soldiers killed, MP says",
            "url": "https://news.example/2024/12/19/soldiers",
            "authors": [{"name": "A. Reporter"}],
            "language": "en",
            "published": {"earliest": "2024-12-19", "latest": "2024-12-19", "precision": "day"},
            "text": _TEXT,
            "zones": [{"zone": "body", "start": 0, "end": len(_TEXT)}],
            "external_ids": _named("soldiers"),
        },
        update={"section": "World", "published": {"earliest": "2024-12-19T08:00:00Z"}},
        computed={
            "text_sha256": sha256(_TEXT.encode()).hexdigest(),
            "text_length": len(_TEXT),
        },
    ),
    RecordType.CLAIM: Example(
        CLAIM_ID,
        create={
            "text": "At least 100 soldiers have been killed.",
            "language": "en",
            "kind": "quantity",
            "speech_act": "cite",
            "attributions": [
                {"position": 0, "printed": "an MP", "cue": "said", "resolution": "unresolved"},
                {
                    "position": 1,
                    "source_id": _SOURCE,
                    "role": "cited",
                    "printed": "the intelligence service",
                    "cue": "citing",
                },
            ],
            "appearances": [
                {
                    "article_id": _ARTICLE,
                    "spans": [
                        _span("content", "At least 100 soldiers have been killed"),
                        _span("cue", "said"),
                    ],
                }
            ],
            "quantities": [
                {
                    "metric": "killed",
                    "unit": "person",
                    "qualifier": "at_least",
                    "lower": 100,
                    "printed": "At least 100 soldiers",
                }
            ],
            "stated": {
                "expression": "on Thursday",
                "earliest": "2024-12-19",
                "latest": "2024-12-19",
                "precision": "day",
            },
            "external_ids": _named("soldiers-killed"),
        },
        update={"review_status": "published", "note": "Second source wanted."},
    ),
    RecordType.DENIAL: Example(
        _DENIAL,
        create={
            "text": "The defence ministry declined to comment.",
            "language": "en",
            "kind": "declined_to_comment",
            "targets": [{"claim_id": CLAIM_ID}],
            "attributions": [{"printed": "The defence ministry", "resolution": "unresolved"}],
            "appearances": [
                {
                    "article_id": _ARTICLE,
                    "spans": [_span("content", "The defence ministry declined to comment")],
                }
            ],
            "external_ids": _named("ministry-no-comment"),
        },
        update={"review_status": "published", "tags": ["no comment"]},
        computed={"family": FAMILY_OF[DenialKind.DECLINED_TO_COMMENT].value},
    ),
}
"""An example of each type of record, in an order fit for writing them."""

KEY_ID: Final = "0a1b2c3d4e5f"
"""The key by which examples are written."""
