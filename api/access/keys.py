"""Keys over HTTP: made, listed, replaced and withdrawn; and who one is oneself."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec
from litestar import delete, get, post

from api.access import keyring
from api.access.authentication import Verifier, forbidden
from api.access.listing import page
from api.core.caller import PUBLIC
from api.core.errors import NOT_FOUND, Problem, invalid_record, unavailable
from api.core.filters import Parameter, read_query
from api.core.request import (
    JSON,
    Answer,
    Request,
    author,
    caller,
    context,
    encoded,
    idempotency_key,
    read_body,
    refuse_idempotency_key,
    require_media_type,
)
from api.core.resource import CURSOR, LIMIT
from api.core.services import service
from api.core.validation import check, read_object
from api.document import Link, Operation, refusals
from schemas.base import Instant, Part
from schemas.examples import KEY_ID
from schemas.keys import IssuedKey, Key, KeyCreate, KeyId, KeyPage, KeyRotate, Me
from schemas.vocabularies import Scope

Sent = TypeVar("Sent", bound=Part)

_ID: Final = Parameter("id", KeyId, "The key's id.")
_KEYS: Final = (Scope.KEYS,)
_NO_STORE: Final = {"cache-control": "no-store"}
NO_IDEMPOTENCY_KEY: Final = (
    "An `Idempotency-Key` is refused (400): the answer holds a secret, which is not kept to be "
    "given again."
)
_EXAMPLE: Final = Key(
    id=KEY_ID,
    name="Desk",
    scopes=[Scope.READ, Scope.CLAIMS_WRITE],
    created_at="2024-12-19T10:00:00.250000Z",
    created_by=None,
    expires_at=None,
    previous_until=None,
    revoked_at=None,
    last_used_at=None,
)
_ISSUED: Final = IssuedKey(
    **msgspec.structs.asdict(_EXAMPLE), key=f"clk_{KEY_ID}_ (36 more characters)"
)
LIST_KEYS = Operation(
    tag="keys",
    description="Gives all keys, newest first, revoked ones too, without their secrets.",
    parameters=(LIMIT, CURSOR),
    told="A page of keys.",
    answer=(KeyPage,),
    headers=("Link",),
    example=KeyPage(
        items=[_EXAMPLE], next_cursor=None, total=None, total_is_lower_bound=False, included={}
    ),
    refusals=(refusals.BAD_PAGE, refusals.UNAVAILABLE),
)
CREATE_KEY = Operation(
    tag="keys",
    description="Makes a key, which is shown this once: only its hash is kept. It can have no "
    f"scope that one's own key has not. {NO_IDEMPOTENCY_KEY}",
    body=KeyCreate,
    body_example=KeyCreate(name="Desk", scopes=[Scope.READ, Scope.CLAIMS_WRITE]),
    told="The key, with its secret: keep it now.",
    answer=(IssuedKey,),
    example=_ISSUED,
    status=201,
    headers=("Location",),
    links=(Link("getKey", {"id": "$response.body#/id"}, "The key's id."),),
    refusals=refusals.WRITE_JSON,
)
GET_KEY = Operation(
    tag="keys",
    description="Gives a key, without its secret.",
    path_parameters=(_ID,),
    told="The key.",
    answer=(Key,),
    example=_EXAMPLE,
    refusals=(refusals.BAD_QUERY, refusals.NOT_FOUND, refusals.UNAVAILABLE),
)
ROTATE_KEY = Operation(
    tag="keys",
    description="Gives a key a new secret, which is shown this once. The old one works beside it "
    "for `overlap_seconds`, a day unless said otherwise; one older than that ends at once. A key "
    f"that may do more than one's own can't be rotated. {NO_IDEMPOTENCY_KEY}",
    path_parameters=(_ID,),
    body=KeyRotate,
    body_example=KeyRotate(overlap_seconds=3_600),
    told="The key, with its new secret: keep it now.",
    answer=(IssuedKey,),
    example=_ISSUED,
    refusals=(*refusals.WRITE_JSON, refusals.NOT_FOUND),
)
REVOKE_KEY = Operation(
    tag="keys",
    description="Withdraws a key for good. Every process refuses it within a second.",
    path_parameters=(_ID,),
    told="The key is withdrawn.",
    answer=(),
    example=None,
    status=204,
    refusals=(
        refusals.BAD_REQUEST,
        refusals.NOT_FOUND,
        refusals.UNAVAILABLE,
        refusals.STORAGE_FULL,
    ),
)
GET_ME = Operation(
    tag="keys",
    description="Tells which key the request brought, and what that may do; without a key, what "
    "anybody may do.",
    told="The key that the request brought, and its scopes.",
    answer=(Me,),
    example=Me(key_id=KEY_ID, name="Desk", scopes=[Scope.READ], expires_at=None),
    refusals=(refusals.BAD_QUERY, refusals.UNAVAILABLE),
)


async def read_part(request: Request, kind: type[Sent], media_type: str = JSON) -> Sent:
    """Read a body that is no record, of an operation that takes no Idempotency-Key."""
    refuse_idempotency_key(request)
    sent, _ = await read_keyed_part(request, kind, media_type)
    return sent


async def read_keyed_part(
    request: Request, kind: type[Sent], media_type: str = JSON
) -> tuple[Sent, bytes]:
    """Read a body that is no record; gives its bytes too, which tell one request from another."""
    idempotency_key(request)  # refuse a bad one unread
    read_query(request.scope["query_string"], {})
    require_media_type(request, [media_type])
    body = await read_body(request, context(request).settings.body_bytes)
    sent, broken = check(read_object(body), kind)
    if sent is None or broken:
        raise invalid_record(broken)
    return sent, body


def _key_id(request: Request) -> str:
    identity: str = request.path_params["id"]
    if not re.match(r"[a-z0-9]{12}\Z", identity):
        raise _unknown()
    return identity


def _unknown() -> Problem:
    return Problem(NOT_FOUND, "No key has this id.")


def _verifier(request: Request) -> Verifier:
    return service(request, Verifier)


def _in_order(scopes: frozenset[Scope] | list[Scope]) -> list[Scope]:
    return [scope for scope in Scope if scope in scopes]


_LIST = keyring.query(
    """
    SELECT :shown FROM keys
    WHERE $1::text IS NULL OR (created_at, id) < ($1::text::timestamptz, $2::text)
    ORDER BY created_at DESC, id DESC
    LIMIT $3"""
)


@get("/v1/keys", operation_id="listKeys", opt={"operation": LIST_KEYS, "scopes": _KEYS})
async def list_keys(request: Request) -> Answer:
    """List keys."""
    return await page(request, "keys", _LIST, (("created_at", Instant), ("id", KeyId)))


@post("/v1/keys", operation_id="createKey", opt={"operation": CREATE_KEY, "scopes": _KEYS})
async def create_key(request: Request) -> Answer:
    """Make a key."""
    sent = await read_part(request, KeyCreate)
    for scope in sent.scopes:
        if not caller(request).may(scope):
            raise forbidden(scope)
    key, told = await keyring.create(
        context(request).database,
        sent.name,
        _in_order(sent.scopes),
        sent.expires_at,
        author(request).actor,
    )
    headers = {"location": f"/v1/keys/{told['id']}", **_NO_STORE}
    return Answer(encoded({**told, "key": key}), 201, headers=headers)


@get("/v1/keys/{id:str}", operation_id="getKey", opt={"operation": GET_KEY, "scopes": _KEYS})
async def get_key(request: Request) -> Answer:
    """Get a key."""
    identity = _key_id(request)
    read_query(request.scope["query_string"], {})
    told = await keyring.get(context(request).database, identity)
    if told is None:
        raise _unknown()
    return Answer(encoded(told))


@post(
    "/v1/keys/{id:str}/rotate",
    operation_id="rotateKey",
    opt={"operation": ROTATE_KEY, "scopes": _KEYS},
    status_code=200,
)
async def rotate_key(request: Request) -> Answer:
    """Give a key a new secret."""
    identity = _key_id(request)
    sent = await read_part(request, KeyRotate)
    database, who = context(request).database, caller(request)
    done = await keyring.rotate(
        database, identity, sent.overlap_seconds, who.scopes, author(request).actor
    )
    if done is None:
        told = await keyring.get(database, identity)
        for scope in Scope:
            if told and scope in told["scopes"] and not who.may(scope):
                raise forbidden(scope)
        raise Problem(NOT_FOUND, "No key that works has this id.")
    _verifier(request).forget(identity)
    key, told = done
    return Answer(encoded({**told, "key": key}), headers=_NO_STORE)


@delete(
    "/v1/keys/{id:str}",
    operation_id="revokeKey",
    opt={"operation": REVOKE_KEY, "scopes": _KEYS},
    status_code=200,
)
async def revoke_key(request: Request) -> Answer:
    """Withdraw a key."""
    identity = _key_id(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    if not await keyring.revoke(context(request).database, identity, author(request).actor):
        raise _unknown()
    _verifier(request).forget(identity)
    return Answer(status=204)


@get("/v1/me", operation_id="getMe", opt={"operation": GET_ME, "scopes": PUBLIC})
async def get_me(request: Request) -> Answer:
    """Say who asks, and what they may do."""
    read_query(request.scope["query_string"], {})
    who = caller(request)
    if who.key_id is None and "authorization" in request.headers:
        raise unavailable("The key could not be looked up.")
    told = None
    if who.key_id is not None:
        told = await keyring.get(context(request).database, who.key_id)
    me = {
        "key_id": who.key_id,
        "name": told["name"] if told else None,
        "scopes": _in_order(who.scopes),
        "expires_at": told["expires_at"] if told else None,
    }
    return Answer(encoded(me))


key_handlers = [list_keys, create_key, get_key, rotate_key, revoke_key, get_me]
