"""Lists whose statements have numbered parameters; :func:`api.core.listing.list_rows` follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from api.core import cursor
from api.core.filters import Parameter, read_query
from api.core.listing import link_next, page_body
from api.core.request import Answer, Request, context, encoded
from api.core.resource import CURSOR, DEFAULT_LIMIT, LIMIT


async def page(
    request: Request,
    name: str,
    query: str,
    key: Sequence[tuple[str, Any]],
    filters: Sequence[Parameter] = (),
    values: Callable[[dict[str, Any]], Sequence[Any]] = lambda _: (),
) -> Answer:
    """Answer with a page of a query's rows.

    The query takes the last row's key, column by column, then a limit, then what `values` makes of
    the parameters. `key` names those columns, with the types that a cursor gives them.
    """
    parameters = {p.name: p for p in (*filters, LIMIT, CURSOR)}
    given = read_query(request.scope["query_string"], parameters)
    limit = given.pop("limit", DEFAULT_LIMIT)
    after = given.pop("cursor", None)
    of_list = cursor.fingerprint(name, given)
    behind: Sequence[Any] = [None] * len(key)
    if after is not None:
        behind = cursor.read(after, of_list, tuple[tuple(kind for _, kind in key)])  # type: ignore[misc]
    rows = await context(request).database.fetch(query, *behind, limit + 1, *values(given))
    items = rows[:limit]
    following = None
    if len(rows) > limit:
        following = cursor.write(of_list, [items[-1][column] for column, _ in key])
    body = page_body([encoded(dict(row)) for row in items], following)
    return Answer(body, headers=link_next(request, following))
