"""The operations on keys, and the operation that tells a caller about its own key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import delete, get, post

from api.access import keyring
from api.access.authentication import Verifier, forbidden
from api.core.bodies import read_part
from api.core.caller import PUBLIC, Caller
from api.core.errors import NOT_FOUND, UNAVAILABLE, Problem, unavailable
from api.core.filters import Parameter, read_query
from api.core.idempotency import refuse_idempotency_key
from api.core.listing import list_rows
from api.core.operation import Link, Operation
from api.core.request import NO_STORE, Answer, NoContent, Request, author, caller, context, encoded
from api.core.resource import CURSOR, LIMIT
from api.core.services import service
from api.core.sql import compose
from schemas.examples import KEY_ID
from schemas.keys import IssuedKey, Key, KeyCreate, KeyId, KeyPage, KeyRotate, Me
from schemas.pages import only_page
from schemas.scalars import Instant
from schemas.vocabularies import Scope

_ID: Final = Parameter("id", KeyId, "The key's id.", example=KEY_ID)
_KEYS: Final = (Scope.KEYS,)
NO_IDEMPOTENCY_KEY: Final = (
    "An `Idempotency-Key` is refused (400): the answer contains a secret, which is not stored and "
    "so can't be given again."
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
    description="Lists all keys without their secrets, newest first. Revoked keys are listed too.",
    parameters=(LIMIT, CURSOR),
    success="A page of keys.",
    answer=(KeyPage,),
    headers=("Link",),
    example=only_page(KeyPage, _EXAMPLE),
)
CREATE_KEY = Operation(
    tag="keys",
    description="Creates a key. The key is shown only once, because only its hash is stored. It "
    f"can only have scopes that your own key has. {NO_IDEMPOTENCY_KEY}",
    body=KeyCreate,
    body_example=KeyCreate(name="Desk", scopes=[Scope.READ, Scope.CLAIMS_WRITE]),
    success="The key with its secret. Store it now.",
    answer=(IssuedKey,),
    example=_ISSUED,
    headers=("Location",),
    links=(Link("getKey", {"id": "$response.body#/id"}, "The key's id."),),
)
GET_KEY = Operation(
    tag="keys",
    description="Gets a key without its secret.",
    path_parameters=(_ID,),
    success="The key.",
    answer=(Key,),
    example=_EXAMPLE,
)
ROTATE_KEY = Operation(
    tag="keys",
    description="Gives a key a new secret, which is shown only once. The old secret still works "
    "for `overlap_seconds`, by default a day; a secret from before the old one stops working at "
    "once. A key with a scope that your own key does not have can't be rotated. "
    f"{NO_IDEMPOTENCY_KEY}",
    path_parameters=(_ID,),
    body=KeyRotate,
    body_example=KeyRotate(overlap_seconds=3_600),
    success="The key with its new secret. Store it now.",
    answer=(IssuedKey,),
    example=_ISSUED,
)
REVOKE_KEY = Operation(
    tag="keys",
    description="Revokes a key for ever. Every process refuses it within a second. A key with a "
    "scope that your own key does not have can't be revoked.",
    path_parameters=(_ID,),
    success="The key is revoked.",
)
GET_ME = Operation(
    tag="keys",
    description="Returns the key with which the request was sent, and its scopes. Without a key, "
    "it returns the scopes that everybody has.",
    success="The key with which the request was sent, and its scopes.",
    answer=(Me,),
    example=Me(key_id=KEY_ID, name="Desk", scopes=[Scope.READ], expires_at=None),
    refusals=(UNAVAILABLE,),
)


def _key_id(request: Request) -> str:
    identity: str = request.path_params["id"]
    if not re.match(r"[a-z0-9]{12}\Z", identity):
        raise _unknown()
    return identity


def _unknown() -> Problem:
    return Problem(NOT_FOUND, "No key has this id.")


def _verifier(request: Request) -> Verifier:
    return service(request, Verifier)


def _in_order(scopes: list[Scope]) -> list[Scope]:
    return [scope for scope in Scope if scope in scopes]


def _scopes_of(asker: Caller) -> list[Scope]:
    """List what a caller may do, in the order of the vocabulary."""
    return [scope for scope in Scope if asker.may(scope)]


def _require_no_stronger(asker: Caller, shown: Mapping[str, Any] | None) -> None:
    """Refuse a caller who would manage a key with a scope that its own key does not have."""
    if shown is None:
        return
    stronger = [scope for scope in Scope if scope in shown["scopes"] and not asker.may(scope)]
    if stronger:
        raise forbidden(stronger)


_LIST: Final = compose(
    """
    SELECT {columns} FROM keys
    WHERE :after_created_at::text IS NULL
        OR (created_at, id) < (:after_created_at::text::timestamptz, :after_id::text)
    ORDER BY created_at DESC, id DESC
    LIMIT :limit""",
    columns=keyring.PUBLISHED,
)


@get("/v1/keys", operation_id="listKeys", opt={"operation": LIST_KEYS, "scopes": _KEYS})
async def list_keys(request: Request) -> Answer:
    """List keys."""
    return await list_rows(request, "keys", _LIST, (("created_at", Instant), ("id", KeyId)))


@post("/v1/keys", operation_id="createKey", opt={"operation": CREATE_KEY, "scopes": _KEYS})
async def create_key(request: Request) -> Answer:
    """Create a key."""
    sent = await read_part(request, KeyCreate)
    stronger = [scope for scope in sent.scopes if not caller(request).may(scope)]
    if stronger:
        raise forbidden(stronger)
    key, shown = await keyring.create(
        context(request).database,
        sent.name,
        _in_order(sent.scopes),
        sent.expires_at,
        author(request).actor,
    )
    headers = {"location": f"/v1/keys/{shown['id']}", **NO_STORE}
    return Answer(encoded({**shown, "key": key}), 201, headers=headers)


@get("/v1/keys/{id:str}", operation_id="getKey", opt={"operation": GET_KEY, "scopes": _KEYS})
async def get_key(request: Request) -> Answer:
    """Get a key."""
    identity = _key_id(request)
    read_query(request.scope["query_string"], {})
    shown = await keyring.get(context(request).database, identity)
    if shown is None:
        raise _unknown()
    return Answer(encoded(shown))


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
    database, asker = context(request).database, caller(request)
    rotated = await keyring.rotate(
        database, identity, sent.overlap_seconds, _scopes_of(asker), author(request).actor
    )
    if rotated is None:
        _require_no_stronger(asker, await keyring.get(database, identity))
        raise Problem(NOT_FOUND, "No key has this id, or it was revoked or has expired.")
    _verifier(request).forget(identity)
    key, shown = rotated
    return Answer(encoded({**shown, "key": key}), headers=NO_STORE)


@delete(
    "/v1/keys/{id:str}",
    operation_id="revokeKey",
    opt={"operation": REVOKE_KEY, "scopes": _KEYS},
)
async def revoke_key(request: Request) -> NoContent:
    """Revoke a key."""
    identity = _key_id(request)
    read_query(request.scope["query_string"], {})
    refuse_idempotency_key(request)
    database, asker = context(request).database, caller(request)
    if not await keyring.revoke(database, identity, _scopes_of(asker), author(request).actor):
        shown = await keyring.get(database, identity)
        if shown is None:
            raise _unknown()
        _require_no_stronger(asker, shown)
    _verifier(request).forget(identity)
    return Answer(status=204)


@get("/v1/me", operation_id="getMe", opt={"operation": GET_ME, "scopes": PUBLIC})
async def get_me(request: Request) -> Answer:
    """Get your own key and its scopes."""
    read_query(request.scope["query_string"], {})
    asker = caller(request)
    if asker.key_id is None and "authorization" in request.headers:
        raise unavailable("The key could not be looked up.")
    shown = None
    if asker.key_id is not None:
        shown = await keyring.get(context(request).database, asker.key_id)
    me = {
        "key_id": asker.key_id,
        "name": shown["name"] if shown else None,
        "scopes": _scopes_of(asker),
        "expires_at": shown["expires_at"] if shown else None,
    }
    return Answer(encoded(me))


key_handlers = [list_keys, create_key, get_key, rotate_key, revoke_key, get_me]
