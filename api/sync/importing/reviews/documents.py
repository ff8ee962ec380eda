"""Documents: where the reviews are in what was sent.

A document is a review, an array, a `@graph`, a `DataFeed` as the public feeds have it, or a `Claim`
with its `review`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from api.core.errors import invalid_record
from api.core.json_text import read_json
from api.sync.importing.reviews.nodes import INSIDE, Node, Shared
from schemas.base import Fault, Path

MAX_REVIEWS: Final = 1_000
_NONE: Final = (
    "There is no review: a review is an object whose `@type` is `ClaimReview`, alone, in an array, "
    "in `@graph`, or in `dataFeedElement` of a `DataFeed`."
)


class FoundReview(NamedTuple):
    """A review in a document, and the claim in whose `review` it stands, if it does.

    Instead of a review, there may be a value that is no object.
    """

    path: Path
    node: Node | None
    claim: Node | None = None


class Document(NamedTuple):
    """The reviews of a document, and what they have in common."""

    reviews: list[FoundReview]
    shared: Shared


def read_document(body: bytes) -> Document:
    """Read what was sent; raise a problem if it is no JSON, or has no review or too many."""
    document = Document([], Shared({}, {}, {}))
    _look_into(read_json(body), (), None, document)
    if not any(each.node for each in document.reviews):
        raise invalid_record([Fault((), "required", _NONE)])
    if len(document.reviews) > MAX_REVIEWS:
        detail = (
            f"A document has at most {MAX_REVIEWS:,} reviews, not {len(document.reviews):,}. Send "
            "them in several documents."
        )
        raise invalid_record([Fault((), "invalid-value", detail)])
    return document


def _look_into(value: Any, path: Path, claim: Node | None, document: Document) -> None:  # noqa: ANN401 - JSON
    """Find the reviews in a value, which nests no deeper than a body may."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            if each is not None:
                _look_into(each, (*path, index), claim, document)
        return
    if not isinstance(value, dict):
        document.reviews.append(FoundReview(path, None))
        return
    node = Node(value, path)
    _, identity = node.properties.get("@id", ("", None))
    if isinstance(identity, str) and len(node.properties) > 1:
        document.shared.named.setdefault(identity, node)
    if "ClaimReview" in node.types:
        document.reviews.append(FoundReview(path, node, claim))
        return
    inside = node if "Claim" in node.types else None
    for name in INSIDE:
        if name in node.properties and (inner := node.properties[name][1]) is not None:
            _look_into(inner, node.place(name), inside, document)
