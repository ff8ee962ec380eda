"""Serve the start page: what the service is, the latest public claims, and where to go next."""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from html import escape
from string import Template
from typing import Any, Final, NamedTuple

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from api.core.caller import PUBLIC, READER
from api.core.errors import Problem
from api.core.listing import read_page
from api.core.request import Request, context
from api.core.sql import render
from api.records.claims import CLAIMS
from api.settings import reads_are_open
from api.site.pages import PAGES, Asset, not_changed, page_headers
from api.site.shown import Printed, Shown, in_full, in_short, page_of

log = logging.getLogger("claim_records")

_LATEST: Final = 5
_LOOKED_AT: Final = 20
"""How many of the newest claims are read to choose the one that is shown in full."""

_PAGE: Final = Template(PAGES["home.html"].content.decode())
_PRINTED: Final = """
    SELECT t.headline, p.name AS publisher, t.published ->> 'expression' AS published
    FROM articles AS t
    LEFT JOIN sources AS p
        ON p.id = t.publisher_id AND p.deleted_at IS NULL AND :sees(source, p)
    WHERE t.id = :id::text::uuid AND t.deleted_at IS NULL AND :sees(article, t)"""

_REFUSED: Final = re.compile(r'(<a) href="/v1/(?!vocabularies|problems)[^"]*"')

_EMPTY: Final = """\
<p>None yet. The first takes one line, its text; everything else is optional.</p>
<pre tabindex="0"><code>curl -H "Authorization: Bearer $$key" -H "Content-Type: application/json" \\
  -d '{"text": "At least 40 containers were lost in the storm"}' $origin/v1/claims</code></pre>
<p>The first start of the service printed a key; \
<code>claim-records serve --demo</code> loads two short reports coded in full.</p>"""
_CLOSED: Final = """\
<p>Reading requires a key here. The operator of this service makes one with \
<code>claim-records keys create NAME --scope read</code>.</p>
<p>Then enter it under <b>Authorize</b> in the <a href="/docs">documentation</a>, or send it with \
each request:</p>
<pre tabindex="0"><code>curl -H "Authorization: Bearer clk_…" $origin/v1/claims</code></pre>"""
_FAILED: Final = "<p>The claims cannot be shown just now. Please try again in a minute.</p>"

_HOP: Final = {"via_id": None, "printed": None, "resolution": "certain"}
_INVENTED: Final = Shown(
    {
        "text": "At least 40 containers were lost in the storm.",
        "language": "en",
        "attributions": [
            _HOP | {"position": 0, "source_id": "mayor"},
            _HOP | {"position": 1, "source_id": "port", "via_id": "briefing"},
        ],
        "appearances": [],
        "quantities": [],
        "stated": None,
    },
    {
        "mayor": {"name": "the mayor"},
        "port": {"name": "the port authority"},
        "briefing": {"name": "a press briefing"},
    },
    [],
)


class Parts(NamedTuple):
    """The parts of the page that change."""

    caption: str
    example: str
    latest: str


def _without(latest: str, origin: str) -> Parts:
    """Make the parts for when no record can be shown: an invented one, and the reason."""
    invented = Printed("Storm hits the harbour", "The Harbour Gazette", None)
    example = in_full(_INVENTED, invented, linked=False)
    why = Template(latest).substitute(origin=origin)
    return Parts("One invented claim, as it is kept", example, why)


async def _parts(request: Request, origin: str) -> Parts:
    """Make the parts from public records, whoever the caller is."""
    try:
        return await _shown(request) or _without(_EMPTY, origin)
    except Problem as problem:
        log.warning("the start page shows no claims: %s", problem.detail)
        return _without(_FAILED, origin)


async def _shown(request: Request) -> Parts | None:
    """Make the parts from the newest claims; None if there are no claims."""
    claims = page_of(await _read_newest(request))
    if not claims:
        return None
    first = max(claims, key=lambda each: each.richness)
    example = in_full(first, await _read_article(request, first))
    return Parts("One claim kept here", example, in_short(claims[:_LATEST]))


async def _read_newest(request: Request) -> dict[str, Any]:
    """Read the newest claims, with denials and the sources of both, for a caller without a key."""
    asked = {"limit": _LOOKED_AT, "expand": "sources,denials"}
    answer = await read_page(CLAIMS, context(request), READER, asked)
    page: dict[str, Any] = msgspec.json.decode(answer.body)
    return page


async def _read_article(request: Request, shown: Shown) -> Printed | None:
    """Read the first article that a claim is printed in."""
    appearances = shown.claim["appearances"]
    if not appearances:
        return None
    identity = appearances[0]["article_id"]
    query = render(_PRINTED, READER, id=identity)
    row = await context(request).database.fetchrow(*query)
    return None if row is None else Printed(*row)


@get("/", include_in_schema=False, opt={"scopes": PUBLIC})
async def show_home(request: Request) -> Response[bytes | None]:
    """Show the start page."""
    origin = escape(str(request.base_url).rstrip("/"))
    is_open = reads_are_open(context(request).settings)
    parts = await _parts(request, origin) if is_open else _without(_CLOSED, origin)
    text = _PAGE.substitute(parts._asdict(), origin=origin)
    if not is_open:  # remove the links that would be refused
        text = _REFUSED.sub(r"\1", text)
    content = text.encode()
    page = Asset(content, "text/html", sha256(content).hexdigest()[:32])
    headers = page_headers(page)
    return not_changed(request, headers) or Response(
        content, media_type=page.media_type, headers=headers
    )


home_handlers: list[HTTPRouteHandler] = [show_home]
