"""The operation that returns the vocabularies."""

from __future__ import annotations

from functools import cache

from litestar import get

from api.core.caller import PUBLIC
from api.core.filters import read_query
from api.core.operation import Operation
from api.core.request import Answer, Request, encoded
from schemas.service import Term, VocabularyList, VocabularyTerms
from schemas.vocabularies import FAMILY_OF, VOCABULARIES, DenialFamily, DenialKind, Vocabulary


def _terms(name: str, vocabulary: type[Vocabulary]) -> VocabularyTerms:
    terms = [
        Term(term.value, term.meaning, FAMILY_OF[term] if isinstance(term, DenialKind) else None)
        for term in vocabulary
    ]
    question = " ".join((vocabulary.__doc__ or "").split())
    return VocabularyTerms(name, question, name == "metric", terms)


LIST_VOCABULARIES = Operation(
    tag="vocabularies",
    description="Returns every vocabulary with the question that it answers and its terms. The "
    "service checks records against the same lists.",
    success="All vocabularies.",
    answer=(VocabularyList,),
    example=VocabularyList([_terms("denial_family", DenialFamily)]),
)


@get(
    "/v1/vocabularies",
    operation_id="listVocabularies",
    opt={"operation": LIST_VOCABULARIES, "scopes": PUBLIC},
)
async def list_vocabularies(request: Request) -> Answer:
    """List all vocabularies with the meaning of each term."""
    read_query(request.scope["query_string"], {})
    return Answer(_vocabularies())


@cache
def _vocabularies() -> bytes:
    return encoded(VocabularyList([_terms(name, v) for name, v in VOCABULARIES.items()]))
