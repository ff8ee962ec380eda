"""The questions of a newsroom, by the client that openapi-python-client writes."""

from __future__ import annotations

import json
import os
from typing import TypeVar
from uuid import UUID

from generated import AuthenticatedClient
from generated.api.articles import create_article, update_article
from generated.api.claims import create_claim, list_claims
from generated.api.questions import (
    attach_appearances,
    get_claim_origins,
    get_claim_responses,
    group_claims,
    list_figures,
    list_lost_appearances,
)
from generated.models import (
    AppearanceInput,
    ArticleCreate,
    ArticlePreconditionFailed,
    ArticleUpdate,
    ClaimCreate,
    ClaimKind,
    GetClaimResponsesExpandItem,
    GroupClaimsByItem,
    ListFiguresExpandItem,
    ListFiguresSort,
    LostAppearance,
    Problem,
    ReattachmentInput,
    RecordReferenceInput,
    RecordType,
    SpanInput,
    SpanRole,
)

ASKED = UUID("1d1e7f77-78ed-5b26-95a1-e8f8034d8e9f")
RESTATED = UUID("147fa90f-1ccf-53d4-af97-3da31ce125f2")

T = TypeVar("T")

client = AuthenticatedClient(os.environ["BASE"], os.environ["KEY"], raise_on_unexpected_status=True)


def done(answer: T | Problem | ArticlePreconditionFailed | None) -> T:
    """Take an answer that has to be a success."""
    assert answer is not None
    assert not isinstance(answer, Problem | ArticlePreconditionFailed), answer.detail
    return answer


# --- who gave which figure, and what conflicts with it ------------------------------------------


def figures_of(metric: str) -> list[str]:
    """List figures with their claimants, and with the claims that conflict with them."""
    expand = [ListFiguresExpandItem.SOURCES, ListFiguresExpandItem.CLAIMS]
    page = done(
        list_figures.sync(client=client, metric=metric, sort=ListFiguresSort.LOWER, expand=expand)
    )
    sources, claims = page.included.sources, page.included.claims
    assert sources
    assert claims
    return [
        " | ".join(
            [
                *(f"{sources[str(each)].name}" for each in figure.claimants),
                figure.printed,
                "-" if figure.lower_bound is None else f"{figure.lower_bound:g}",
                *(claims[str(each.record.id)].text for each in figure.conflicts),
            ]
        )
        for figure in page.items
    ]


killed = figures_of("killed")
injured = figures_of("injured")

# --- origins, claims without an answer, responses, groups ---------------------------------------

origins = done(get_claim_origins.sync(RESTATED, client=client))
unanswered = done(list_claims.sync(client=client, kind=ClaimKind.ACCUSATION, responded=False))
responses = done(
    get_claim_responses.sync(
        ASKED,
        client=client,
        expand=[GetClaimResponsesExpandItem.SOURCES, GetClaimResponsesExpandItem.DENIALS],
    )
)
sources, denials = responses.included.sources, responses.included.denials
assert sources
assert denials
counts = done(
    group_claims.sync(
        client=client,
        by=[GroupClaimsByItem.CLAIMANT_ID, GroupClaimsByItem.RESPONSE_FAMILY],
        limit=2,
    )
)

# --- the queue of lost words, and how they are attached again -----------------------------------

TEXT = "😀 Officials said “at least 100” soldiers were killed."
WORDS = "“at least 100” soldiers"
article = create_article.sync_detailed(client=client, body=ArticleCreate(text=TEXT))
article_id = done(article.parsed).id
start = TEXT.index(WORDS)
span = SpanInput(start, start + len(WORDS), WORDS)
claim = done(
    create_claim.sync(
        client=client,
        body=ClaimCreate(
            "At least 100 were killed", appearances=[AppearanceInput(article_id, spans=[span])]
        ),
    )
)
done(
    update_article.sync(
        article_id,
        client=client,
        body=ArticleUpdate(text=TEXT.replace("“", '"').replace("”", '"')),
        if_match=article.headers["ETag"],
    )
)


def mended(lost: LostAppearance) -> ReattachmentInput:
    """Take the first suggestion for each span."""
    spans = []
    for each in lost.spans:
        best = each.suggestions[0]
        spans.append(
            SpanInput(
                best.start,
                best.end,
                best.exact,
                role=SpanRole(each.role),
                prefix=best.prefix,
                suffix=best.suffix,
            )
        )
    return ReattachmentInput(
        RecordReferenceInput(RecordType(lost.record.type_), lost.record.id),
        lost.appearance,
        spans,
        if_match=f'"v{lost.version}"',
    )


queue = done(list_lost_appearances.sync(article_id, client=client))
results = done(
    attach_appearances.sync(article_id, client=client, body=[mended(each) for each in queue.items])
)
assert [each.record.id for each in results.items] == [claim.id]

print(  # noqa: T201 - this is what the test reads
    json.dumps(
        {
            "killed": killed,
            "injured": injured,
            "origins": origins.count,
            "unanswered": [each.text for each in unanswered.items],
            "responders": [
                f"{source.name or source.description}: {denials[str(each.latest)].kind}"
                for each in responses.responders
                for source in [sources[str(each.source_id)]]
            ],
            "claimants": [f"{each.name}: {each.count}" for each in counts.groups["claimant_id"]],
            "without": counts.none["response_family"],
            "suggested": [
                f"{place.why}: {place.exact}"
                for lost in queue.items
                for each in lost.spans
                for place in each.suggestions
            ],
            "attached": results.attached,
        }
    )
)
