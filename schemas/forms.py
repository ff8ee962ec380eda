"""The other forms of a record, derived from the form that a client writes.

A record type is declared once, as its ``…Create`` Struct. :func:`record` derives the form that
readers get, which always has every property and also those that the server sets. :func:`update`
derives the form of a merge patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.base import Create, Part
from schemas.scalars import Id, Instant, Version
from schemas.shapes import fields, shape

_SERVER_FIELDS = (
    (
        "id",
        Annotated[
            Id, Meta(description="A UUIDv7, or the UUID that the creator of the record chose.")
        ],
    ),
    (
        "version",
        Annotated[
            Version,
            Meta(description="The version of the record: 1 at first, and 1 more with each change."),
        ],
    ),
    ("created_at", Annotated[Instant, Meta(description="When this record was created.")]),
    ("updated_at", Annotated[Instant, Meta(description="When this version was written.")]),
)

_LAST = tuple(field.name for field in fields(Create))


def record(
    name: str, create: type[Create], computed: Sequence[tuple[str, Any]] = ()
) -> type[Struct]:
    """Derive the form that readers get, in which every property is present.

    The properties that the server sets come first. `computed` are those that the server derives
    from the record's content.
    """
    own = {field.name: (field.encode_name, field.type) for field in fields(create)}
    last = [own.pop(name) for name in _LAST]
    return msgspec.defstruct(
        name,
        [*_SERVER_FIELDS, *own.values(), *computed, *last],
        kw_only=True,
        namespace={"__doc__": create.__doc__},
        module=create.__module__,
    )


def update(name: str, create: type[Part]) -> type[Part]:
    """Derive the form of a merge patch (RFC 7396): any field, or null to remove it.

    An object inside the record is patched in the same way; a list is replaced as a whole.
    """
    patch = msgspec.defstruct(
        name,
        [
            (
                field.name,
                _patched(field.type) | None | UnsetType,
                msgspec.field(default=UNSET, name=field.encode_name),
            )
            for field in fields(create)
        ],
        bases=(Part,),
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__doc__": f"A merge patch (RFC 7396). {create.__doc__}"},
        module=create.__module__,
    )
    return cast("type[Part]", patch)


def _patched(annotation: Any) -> Any:  # noqa: ANN401 - type forms
    found = shape(annotation)
    if found.many or not (isinstance(found.kind, type) and issubclass(found.kind, Part)):
        return annotation
    return update(f"{found.kind.__name__}Update", found.kind)
