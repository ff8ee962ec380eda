"""The workloads in GraphQL, as PostGraphile names what `peers.sql` shows."""

from __future__ import annotations

import json
from typing import Final

import records  # beside this file


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


ARTICLE_COLUMNS: Final = """
    headline url publisher_id authors language published dateline section text zones status
    corrections relations archived_url embargoed_until text_sha256 text_length external_ids tags
    note"""
SOURCE_COLUMNS: Final = """
    kind identification name description names roles parent_id members group_size country_code url
    confidentiality merged_into_id external_ids tags note"""
_OWN: Final = ("row_id", "version", "created_at", "updated_at")
"""PostGraphile calls the column `id` so, since `id` is its own for every node."""
_CLAIM: Final = " ".join(map(_camel, (*_OWN, *records.COLUMNS.split(", "))))
_ARTICLE: Final = " ".join(map(_camel, (*_OWN, *ARTICLE_COLUMNS.split())))
_SOURCE: Final = " ".join(map(_camel, (*_OWN, *SOURCE_COLUMNS.split())))
_NEWEST: Final = "allClaims(first: 50, orderBy: [CREATED_AT_DESC, ROW_ID_DESC])"

ONE: Final = f"query One($id: UUID!) {{ claimByRowId(rowId: $id) {{ {_CLAIM} }} }}"
PAGE: Final = f"query Page {{ {_NEWEST} {{ nodes {{ {_CLAIM} }} }} }}"
EXPANDED: Final = (
    f"query Expanded {{ {_NEWEST} {{ nodes {{ {_CLAIM}"
    f" articles {{ nodes {{ {_ARTICLE} }} }} sources {{ nodes {{ {_SOURCE} }} }} }} }} }}"
)
CHANGES: Final = (
    "query Changes($since: Datetime!) {"
    f" changedClaims(since: $since, first: 1000) {{ nodes {{ {_CLAIM} }} }} }}"
)
CREATE: Final = (
    "mutation Create($claim: ClaimInput!) {"
    f" createClaim(input: {{claim: $claim}}) {{ claim {{ {_CLAIM} }} }} }}"
)
PATCH: Final = (
    "mutation Patch($id: UUID!, $version: Int!, $note: String!) {"
    " patchClaim(input: {id: $id, version: $version, note: $note})"
    f" {{ result {{ {_CLAIM} }} }} }}"
)


def body(query: str, variables: str) -> str:
    """Write the body of a request; the variables are JSON already."""
    return f'{{"query":{json.dumps(query)},"variables":{variables}}}'


def new_claim(claim: str) -> str:
    """Write the variables that create a claim, in the names of GraphQL."""
    renamed = {_camel(name): value for name, value in json.loads(claim).items()}
    return json.dumps({"claim": renamed}, separators=(",", ":"))
