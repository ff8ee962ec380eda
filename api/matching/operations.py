"""The operations of matching, which suggest claims for texts and sources for a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import msgspec
from litestar import get, post
from msgspec import Meta

from api.core.bodies import read_part
from api.core.errors import invalid_parameter
from api.core.filters import Parameter, conditions, read_query
from api.core.operation import Operation, example_of
from api.core.querying import body_with, given_in
from api.core.request import Answer, Request, caller, context, encoded, reserve_room
from api.core.resource import MAX_PAGE_BYTES
from api.core.services import service
from api.matching.claims import MAX_SECONDS, FoundClaim, Search, find_claims
from api.matching.scoring import Scorer
from api.matching.sources import Deadline, FoundSource, find_sources, read_documents
from api.matching.sources import Search as SourceSearch
from api.matching.terms import Asked
from api.records.claims import CLAIMS
from api.records.sources import SOURCES
from schemas.base import Part
from schemas.matching import (
    MAX_TEXTS,
    ClaimMatch,
    ClaimMatches,
    MatchLimit,
    MatchReasons,
    MatchText,
    NameReasons,
    NameWords,
    SourceMatch,
    SourceMatches,
    TextMatches,
)
from schemas.scalars import Language, Line, Text
from schemas.vocabularies import RecordType

_DEFAULT_LIMIT: Final = 10
_LIMIT: Final = Parameter(
    "limit",
    MatchLimit,
    "The highest number of matches for each text or name.",
    default=_DEFAULT_LIMIT,
)
_TEXT: Final = Parameter(
    "text",
    Text,
    "The words, as they were said or posted.",
    required=True,
    example="3,000 North Korean soldiers were killed or wounded",
)
_LANGUAGE: Final = Parameter(
    "language",
    Language,
    "The language of the text (BCP 47). Without it, the likely languages are tried.",
    default="und",
)
_NAME: Final = Parameter("name", Line, "The name.", required=True, example="zelenski")
_OF_TEXT: Final = {each.name: each for each in (_TEXT, _LANGUAGE, _LIMIT)}
_OF_NAME: Final = {
    each.name: each
    for each in (
        _NAME,
        *(SOURCES.filter_parameters[name] for name in ("kind", "country_code")),
        _LIMIT,
    )
}

MatchFilters: Final = body_with(
    "ClaimMatchFilters",
    CLAIMS,
    CLAIMS.filter_parameters,
    "The filters of a list of claims. A filter that is null or absent is not used.",
)
ClaimMatchQuery: Final = cast(
    "type[Part]",
    msgspec.defstruct(
        "ClaimMatchQuery",
        [
            (
                "texts",
                Annotated[
                    list[MatchText],
                    Meta(min_length=1, max_length=MAX_TEXTS, description="The texts."),
                ],
            ),
            (
                "limit",
                Annotated[
                    MatchLimit, Meta(description="The highest number of claims for each text.")
                ],
                _DEFAULT_LIMIT,
            ),
            (
                "filters",
                Annotated[
                    MatchFilters | None,
                    Meta(description="The claims to look at; all claims if it is null."),
                ],
                None,
            ),
        ],
        bases=(Part,),
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__doc__": "Texts that may have been recorded as claims."},
    ),
)

_METHOD: Final = (
    "A match is a suggestion: nothing is linked. The score is the mean of two values: BM25 over "
    "the stems of the words, divided by the score of the text against itself, and the likeness of "
    "the letters. Different figures lower the score; other good matches that are like the claim "
    "raise it. The stems are those of the text's language, if Postgres has a dictionary for it. "
    "Rare words count more; the service counts words in the background, and in public claims only. "
    "It compares the text with the claims that share its rarest words. If a word of a short text "
    "is in no claim, it also compares claims with words of a similar spelling."
)
_TEXT_EXAMPLE: Final = "Over 3,000 North Korean soldiers killed or wounded"
_MATCHED: Final = ClaimMatches(
    matches=[
        TextMatches(
            id=None,
            complete=True,
            items=[
                ClaimMatch(
                    score=0.71,
                    why=MatchReasons(
                        words=["wounded", "killed", "soldiers"],
                        figures=[],
                        names=["Korean"],
                    ),
                    record=example_of("Claim"),
                )
            ],
        )
    ]
)
MATCH_CLAIM: Final = Operation(
    tag="matching",
    description="Finds claims that may already say what a text says. " + _METHOD,
    parameters=(_TEXT, _LANGUAGE, _LIMIT),
    success="The claims for the text.",
    answer=(ClaimMatches,),
    example=_MATCHED,
)
MATCH_CLAIMS: Final = Operation(
    tag="matching",
    description=f"Finds claims that may already say what some texts say, at most {MAX_TEXTS} in "
    f"one request. {_METHOD}\n\nAfter {MAX_SECONDS:g} seconds no further text is looked at; for "
    "the texts that are left over, `complete` is false.",
    body=ClaimMatchQuery,
    body_example={"texts": [{"id": "1", "text": _TEXT_EXAMPLE, "language": "en"}], "limit": 5},
    success="The claims for each text.",
    answer=(ClaimMatches,),
    example=_MATCHED,
)
MATCH_SOURCE: Final = Operation(
    tag="matching",
    description="Finds sources that a name may mean. The name is compared with all names of a "
    "source. Its words may be in any order, misspelt, or in the spelling of another language. "
    "Cyrillic, Greek and Korean names are compared in Latin letters. Rare words count more. A "
    "match is a suggestion: nothing is linked. An answer has fewer sources than `limit` if its "
    "body would pass 8 MiB; then it has the best ones.",
    parameters=tuple(_OF_NAME.values()),
    success="The sources.",
    answer=(SourceMatches,),
    example=SourceMatches(
        items=[
            SourceMatch(
                score=0.8,
                why=NameReasons(
                    name="national intelligence service",
                    words=[NameWords(asked="inteligence", found="intelligence", alike=0.917)],
                ),
                record=example_of("Source"),
            )
        ]
    ),
)


@get(
    "/v1/claims/match",
    operation_id="matchClaim",
    opt={"operation": MATCH_CLAIM, "reads": (RecordType.CLAIM,)},
)
async def match_claim(request: Request) -> Answer:
    """Find claims that may say what a text says."""
    given = read_query(request.scope["query_string"], _OF_TEXT)
    _require(given, _TEXT)
    asked = [Asked(given["text"], given.get("language", "und"))]
    return await _match(request, asked, [None], given.get("limit", _DEFAULT_LIMIT), {})


@post(
    "/v1/claims/match",
    operation_id="matchClaims",
    opt={"operation": MATCH_CLAIMS, "reads": (RecordType.CLAIM,)},
    status_code=200,
)
async def match_claims(request: Request) -> Answer:
    """Find claims that may say what some texts say."""
    sent: Any = await read_part(request, ClaimMatchQuery)
    asked = [Asked(each.text, each.language) for each in sent.texts]
    filters = given_in(sent.filters, CLAIMS.filter_parameters) if sent.filters else {}
    return await _match(request, asked, [each.id for each in sent.texts], sent.limit, filters)


@get(
    "/v1/sources/match",
    operation_id="matchSource",
    opt={"operation": MATCH_SOURCE, "reads": (RecordType.SOURCE,)},
)
async def match_source(request: Request) -> Answer:
    """Find sources that may be meant by a name."""
    given = read_query(request.scope["query_string"], _OF_NAME)
    _require(given, _NAME)
    name, limit = given.pop("name"), given.pop("limit", _DEFAULT_LIMIT)
    where, values = conditions(SOURCES.all_filters, given)
    asker = caller(request)
    room = await reserve_room(request, MAX_PAGE_BYTES)
    async with context(request).database.connection(searches=True) as connection:
        search = SourceSearch(connection, asker, Deadline(), where, values)
        (found,) = await find_sources(search, [(name, limit)])
        docs = await read_documents(connection, asker, [each.id for each in found or ()])
    items = [_source(each, docs[each.id]) for each in found or () if each.id in docs]
    body = encoded({"items": items})
    room.keep(len(body))
    return Answer(body)


def _require(given: dict[str, Any], parameter: Parameter) -> None:
    if parameter.name not in given:
        raise invalid_parameter(parameter.name, "It is required.")


async def _match(
    request: Request,
    asked: Sequence[Asked],
    ids: Sequence[str | None],
    limit: int,
    filters: dict[str, Any],
) -> Answer:
    where, values = conditions(CLAIMS.all_filters, filters)
    room = await reserve_room(request, MAX_PAGE_BYTES)
    async with context(request).database.connection(searches=True) as connection:
        scorer = service(request, Scorer)  # type: ignore[type-abstract]  # whichever was put in
        search = Search(connection, caller(request), scorer, limit, where, values)
        found = await find_claims(search, asked)
    matches = [
        {"id": identity, "complete": each.complete, "items": [_claim(one) for one in each.claims]}
        for identity, each in zip(ids, found, strict=True)
    ]
    body = encoded({"matches": matches})
    room.keep(len(body))
    return Answer(body)


def _claim(found: FoundClaim) -> dict[str, Any]:
    return {
        "score": found.score,
        "why": found.why._asdict(),
        "record": msgspec.Raw(found.doc),
    }


def _source(found: FoundSource, doc: bytes) -> dict[str, Any]:
    words = [
        {"asked": asked, "found": other, "alike": degree}
        for asked, other, degree in found.scored.words
    ]
    return {
        "score": found.scored.score,
        "why": {"name": found.name, "words": words},
        "record": msgspec.Raw(doc),
    }


matching_handlers: list[Any] = [match_claim, match_claims, match_source]
