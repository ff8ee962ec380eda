"""What a program does with the records, by the client that openapi-python-client writes."""

from __future__ import annotations

import json
import os
from typing import TypeVar
from uuid import UUID

from generated import AuthenticatedClient
from generated.api.articles import create_article
from generated.api.changes import list_changes
from generated.api.claims import create_claim, get_claim, list_claims, replace_claim, update_claim
from generated.api.denials import create_denial
from generated.api.keys import get_me
from generated.api.sources import create_source
from generated.models import (
    AppearanceInput,
    ArticleChange,
    ArticleCreate,
    AttributionInput,
    AttributionRole,
    Certainty,
    Claim,
    ClaimChange,
    ClaimCreate,
    ClaimPage,
    ClaimPreconditionFailed,
    ClaimUpdate,
    DenialChange,
    DenialCreate,
    DenialKind,
    ListClaimsExpandItem,
    Problem,
    Qualifier,
    QuantityInput,
    ReviewStatus,
    SourceChange,
    SourceCreate,
    SourceKind,
    TargetInput,
)
from generated.types import UNSET, Response

Change = ArticleChange | ClaimChange | DenialChange | SourceChange
T = TypeVar("T")

client = AuthenticatedClient(os.environ["BASE"], os.environ["KEY"], raise_on_unexpected_status=True)


def done(answer: T | Problem | ClaimPreconditionFailed | None) -> T:
    """Take an answer that has to be a success."""
    assert answer is not None
    assert not isinstance(answer, Problem | ClaimPreconditionFailed), answer.detail
    return answer


def followed(since: str) -> tuple[list[Change], str]:
    """Follow the feed to its end; give what it told and where that is."""
    changes: list[Change] = []
    while True:
        page = done(list_changes.sync(client=client, since=since, limit=5))
        changes += page.items
        since = page.next_cursor
        if page.up_to_date:
            return changes, since


def update(
    claim: Claim, tag: str, body: ClaimUpdate
) -> Response[Claim | ClaimPreconditionFailed | Problem]:
    """Send a merge patch."""
    return update_claim.sync_detailed(claim.id, client=client, body=body, if_match=tag)


assert "claims:write" in done(get_me.sync(client=client)).scopes
before, cursor = followed("start")

# --- the four records ------------------------------------------------------------------------

source = done(
    create_source.sync(client=client, body=SourceCreate(SourceKind.PERSON, name="Ada of Python"))
)
article = done(
    create_article.sync(client=client, body=ArticleCreate("Seen", publisher_id=source.id))
)
created = create_claim.sync_detailed(
    client=client,
    body=ClaimCreate(
        "It rained.",
        attributions=[AttributionInput(source_id=source.id, role=AttributionRole.CLAIMANT)],
        appearances=[AppearanceInput(article.id)],
        quantities=[QuantityInput("killed", "person", Qualifier.EXACT, "three", value=3)],
        review_status=ReviewStatus.PUBLISHED,
    ),
    idempotency_key="the claim of openapi-python-client",
)
claim = done(created.parsed)
denial = done(
    create_denial.sync(
        client=client,
        body=DenialCreate("It did not.", DenialKind.FULL_DENIAL, [TargetInput(claim_id=claim.id)]),
    )
)
assert denial.targets[0].claim_id == claim.id
assert claim.attributions[0].source_id == source.id

# --- 412: the record has changed meanwhile ---------------------------------------------------

tag = created.headers["ETag"]
changed = done(update(claim, tag, ClaimUpdate(certainty=Certainty.PROBABLE, note="Changed")).parsed)
assert changed.version == 2
stale = update(claim, tag, ClaimUpdate(note=None))
assert stale.status_code == 412
assert isinstance(stale.parsed, ClaimPreconditionFailed)
assert stale.parsed.code == "precondition-failed"
assert stale.parsed.current
assert stale.parsed.current.version == 2
again = update(claim, stale.headers["ETag"], ClaimUpdate(note=None))
assert (done(again.parsed).version, done(again.parsed).note) == (3, None)

# --- what was read goes back as it is, read-only properties and all --------------------------

sent_back = replace_claim.sync(
    claim.id,
    client=client,
    body=ClaimCreate.from_dict(done(again.parsed).to_dict()),
    if_match=again.headers["ETag"],
)
assert done(sent_back).version == 3

# --- 422: what was sent is not valid ---------------------------------------------------------

wrong = create_claim.sync(
    client=client,
    body=ClaimCreate(
        "", attributions=[AttributionInput(source_id=claim.id, role=AttributionRole.CLAIMANT)]
    ),
)
assert isinstance(wrong, Problem)
assert wrong.status == 422

# --- every claim, page by page ---------------------------------------------------------------

claims: dict[UUID, Claim] = {}
following: str | None = None
while True:
    page: ClaimPage = done(
        list_claims.sync(
            client=client,
            limit=3,
            expand=[ListClaimsExpandItem.SOURCES, ListClaimsExpandItem.DENIALS],
            cursor=following if following is not None else UNSET,
        )
    )
    claims |= {item.id: item for item in page.items}
    for item in page.items:
        for attribution in item.attributions:
            if attribution.source_id is not None:
                assert page.included.sources
                assert page.included.sources[str(attribution.source_id)].kind
    following = page.next_cursor
    if following is None:
        break

# --- what has changed since ------------------------------------------------------------------

after, _ = followed(cursor)
for change in after:
    if isinstance(change, ClaimChange) and change.record is not None:
        assert change.record.text

# --- a term that nobody knew -----------------------------------------------------------------

strange = done(get_claim.sync(UUID(os.environ["STRANGE"]), client=client))

print(  # noqa: T201 - this is what the test reads
    json.dumps(
        {
            "created": [str(each.id) for each in (source, article, claim, denial)],
            "pointers": [fault.to_dict().get("pointer") for fault in wrong.errors],
            "claims": [str(identity) for identity in claims],
            "terms": [strange.certainty, claims[strange.id].certainty],
            "before": [str(change.id) for change in before],
            "told": [f"{change.op} {change.type_} {change.id}" for change in after],
        }
    )
)
