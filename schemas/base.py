"""What all records share: scalar types, rules, references, and the three forms of a record.

A record type is declared once, as its ``…Create`` Struct. :func:`record` derives the form that
readers get, which always has every property and also those that the server sets. :func:`update`
derives the form of a merge patch.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    NamedTuple,
    Self,
    Union,
    cast,
    get_args,
    get_origin,
)

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import FieldInfo

from schemas.vocabularies import RecordType, Vocabulary

# `\Z`, not `$`: Python's `$` also matches before a final newline. The OpenAPI document says `$`.
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
_DATE = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
# No place on earth is more than 14 hours from UTC; Postgres refuses offsets beyond 15:59.
_CLOCK = (
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)"
)


_UUID = "a UUID in lower case"


def _reference(to: RecordType) -> Any:  # noqa: ANN401 - a type form, which no type describes
    """Build the type of an id that must name a record which is not deleted."""
    return Annotated[
        str,
        Meta(
            min_length=36,
            max_length=36,
            pattern=UUID_PATTERN,
            extra_json_schema={"format": "uuid"},
            extra={"refers_to": to, "form": _UUID},
        ),
    ]


Id = Annotated[
    str,
    Meta(
        min_length=36,
        max_length=36,
        pattern=UUID_PATTERN,
        extra_json_schema={"format": "uuid"},
        extra={"form": _UUID},
    ),
]
ArticleId = _reference(RecordType.ARTICLE)
ClaimId = _reference(RecordType.CLAIM)
DenialId = _reference(RecordType.DENIAL)
SourceId = _reference(RecordType.SOURCE)

Line = Annotated[str, Meta(min_length=1, max_length=500)]
"""A name or a few words."""
Text = Annotated[str, Meta(min_length=1, max_length=10_000)]
"""A sentence or a few paragraphs."""
Url = Annotated[
    str,
    Meta(
        max_length=2_000,
        pattern=r"^https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+\Z",
        extra_json_schema={"format": "uri"},
        extra={"form": "an absolute http or https URL in ASCII, of at most 2,000 characters"},
    ),
]
"""An absolute http(s) URL in ASCII (RFC 3986: anything else is percent-encoded)."""
Language = Annotated[
    str,
    Meta(
        max_length=35,
        pattern=r"^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*\Z",
        extra={"form": "a BCP 47 language tag, such as `en` or `zh-Hant`"},
    ),
]
"""A BCP 47 language tag; `und` is undetermined."""
Country = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=2,
        pattern=r"^[A-Z]{2}\Z",
        extra={"form": "two capital letters (ISO 3166-1), such as `KR`"},
    ),
]
"""ISO 3166-1 alpha-2."""
Instant = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=rf"^{_DATE}{_CLOCK}\Z",
        extra_json_schema={"format": "date-time"},
        extra={
            "instant": True,
            "form": "an instant with its offset (RFC 3339), such as `2024-12-19T10:00:00Z`",
        },
    ),
]
"""RFC 3339, with an offset; kept and returned in UTC."""
Bound = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=rf"^{_DATE}({_CLOCK})?\Z",
        extra={
            "form": "a date, such as `2024-12-19`, or an instant with its offset (RFC 3339), such "
            "as `2024-12-19T10:00:00Z`"
        },
    ),
]
"""A date, or an RFC 3339 instant; kept as written."""
MAX_DIGITS: Final = 15
"""Every JSON reader keeps this many significant digits of a number."""
LARGEST = 999_999_999_999_999
"""The largest number of 15 significant digits."""
Number = (
    Annotated[int, Meta(ge=-LARGEST, le=LARGEST)] | Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
)
Confidence = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
"""From 0 to 1."""
Latitude = Annotated[int, Meta(ge=-90, le=90)] | Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[int, Meta(ge=-180, le=180)] | Annotated[float, Meta(ge=-180, le=180)]
_HALF_EARTH: Final = 20_040_000
Metres = Annotated[int, Meta(ge=0, le=_HALF_EARTH)] | Annotated[float, Meta(ge=0, le=_HALF_EARTH)]
"""A distance on the Earth, at most half of its circumference."""
Offset = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A position in Unicode code points."""
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]

FILLED: Final = {"filled": True}
"""Marks a field that may be left out or null in a request and never is in a response."""

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """One thing that is wrong with a record, and its place in the record."""

    path: Path
    code: str
    detail: str

    def under(self, *above: str | int) -> Fault:
        """Give the same fault with its path from an enclosing part."""
        return self._replace(path=(*above, *self.path))


class Reference(NamedTuple):
    """An id inside a record that must name a record which is not deleted."""

    path: Path
    to: RecordType
    id: str


class Part(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A JSON object inside a record, or the record itself."""

    def faults(self) -> Iterator[Fault]:
        """Yield the rules that a well-typed part breaks, with paths that begin at this part."""
        yield from ()


MAX_EXTERNAL_IDS: Final = 50


class ExternalId(Part, kw_only=True):
    """The name of a record in another system; unique among records of one type."""

    namespace: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=100,
            description="The name of the other system, such as `demo`.",
        ),
    ]
    value: Annotated[
        str, Meta(min_length=1, max_length=400, description="The id that the other system uses.")
    ]


class Create(Part, kw_only=True):
    """The properties that a client writes in records of every type."""

    also_needed: ClassVar[str] = ""
    """What a rule requires besides the required properties, in words."""

    external_ids: Annotated[
        list[ExternalId],
        Meta(max_length=MAX_EXTERNAL_IDS, description="The ids of this record in other systems."),
    ] = []
    tags: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=100)]],
        Meta(max_length=100, description="Labels of your choice."),
    ] = []
    note: Annotated[
        Text | None, Meta(description="An editor's note. Every reader of the record can see it.")
    ] = None

    def keep(self, stored: Self, server: Mapping[str, Any]) -> None:
        """Take over what the database filled in the stored record, given its server's properties.

        Only where this record, which is to replace it, leaves the choice to the server.
        """

    def forget(self, claimed: Mapping[str, Any]) -> None:
        """Drop what another server filled in, given the properties that it had set."""

    def faults(self) -> Iterator[Fault]:
        """Refuse an external id or a tag that is given twice."""
        yield from repeated("external_ids", [(e.namespace, e.value) for e in self.external_ids])
        yield from repeated("tags", self.tags)


def repeated(field: str, keys: Sequence[Any]) -> Iterator[Fault]:
    """Yield a fault for each item whose key an earlier item of the list has."""
    seen = set()
    for index, key in enumerate(keys):
        if key in seen:
            yield Fault((field, index), "duplicate-item", "The list already has this item.")
        seen.add(key)


def moment(bound: str, *, end: bool = False) -> dt.datetime | None:
    """Give the moment in UTC at which a date's day begins, or the instant itself.

    With `end`, give the moment at which the bound is over: the end of the day, or one microsecond
    after the instant. None if the date is not valid, such as 30 February, or if its year in UTC is
    before 1000 or after 2999.
    """
    try:
        if "T" in bound:
            at = dt.datetime.fromisoformat(bound).astimezone(dt.UTC)
        else:
            at = dt.datetime.combine(dt.date.fromisoformat(bound), dt.time(), dt.UTC)
    except (ValueError, OverflowError):
        return None
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        return None
    if not end:
        return at
    return at + (dt.timedelta(microseconds=1) if "T" in bound else dt.timedelta(days=1))


_FIRST_YEAR, _LAST_YEAR = 1000, 2999


def impossible(field: str, bound: str | None) -> Iterator[Fault]:
    """Yield a fault for a date or an instant that is not valid, such as 30 February."""
    if bound is not None and moment(bound) is None:
        yield Fault((field,), "impossible-date", f"{bound} is not a valid date.")


def in_utc(instant: str | None) -> str | None:
    """Write an instant in UTC, as it is stored; an invalid one stays as it is."""
    at = moment(instant) if instant is not None else None
    return at.isoformat().replace("+00:00", "Z") if at else instant


def significant_digits(number: str) -> str:
    """Give the significant digits of a number in JSON."""
    return re.split("[eE]", number)[0].replace(".", "").strip("-0")


def out_of_order(field: str, lower: float | None, upper: float | None) -> Iterator[Fault]:
    """Yield a fault if a lower bound is above its upper bound."""
    if lower is not None and upper is not None and lower > upper:
        yield Fault((field,), "out-of-order", "The lower bound is above the upper bound.")


# --- a record's structure, read off its types ------------------------------------------------


class Shape(NamedTuple):
    """The type of a field, without `Annotated` and `| None`."""

    kind: Any  # a Struct, a Vocabulary, or a builtin type
    many: bool  # a list of it
    max_items: int | None  # of the list
    optional: bool  # whether it may be null
    refers_to: RecordType | None
    filled: bool  # whether the server fills it in where a client leaves it out
    instant: bool
    form: str | None  # the form of a string, in words


@cache
def shape(annotation: Any) -> Shape:  # noqa: ANN401 - a type form, which no type describes
    """Read the shape of a field off its annotation."""
    kind, many, optional = annotation, False, False
    notes: dict[str, Any] = {}
    max_length = max_items = None
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind, *metas = get_args(kind)
            for meta in metas:
                notes |= meta.extra or {}
                max_length = meta.max_length
        elif origin in (Union, UnionType):
            members = [m for m in get_args(kind) if m not in (NoneType, UnsetType)]
            optional = optional or NoneType in get_args(kind)
            kind = members[0]
        elif origin is list:
            (kind,) = get_args(kind)
            many, max_items = True, max_length
        else:
            return Shape(
                kind,
                many,
                max_items,
                optional,
                notes.get("refers_to"),
                notes.get("filled", False),
                notes.get("instant", False),
                notes.get("form"),
            )


@cache
def fields(struct: type[Struct]) -> tuple[FieldInfo, ...]:
    """Give the fields of a Struct, with their types resolved."""
    return msgspec.structs.fields(struct)


@cache
def _followed(struct: type[Struct]) -> tuple[tuple[FieldInfo, Shape], ...]:
    """Give the fields that hold parts or references."""
    shapes = ((field, shape(field.type)) for field in fields(struct))
    return tuple(
        (field, found)
        for field, found in shapes
        if found.refers_to or (isinstance(found.kind, type) and issubclass(found.kind, Struct))
    )


@cache
def _referring(struct: type[Struct]) -> tuple[tuple[FieldInfo, Shape], ...]:
    """Give the fields that hold references, or parts in which there are some."""
    return tuple(
        (field, found)
        for field, found in _followed(struct)
        if found.refers_to or _referring(found.kind)
    )


@cache
def _places(struct: type[Struct]) -> tuple[tuple[str, str, bool, RecordType | None], ...]:
    """Give the same fields: name, encoded name, whether it is a list, and to what it refers."""
    return tuple(
        (field.name, field.encode_name, found.many, found.refers_to)
        for field, found in _referring(struct)
    )


@cache
def _ruled(struct: type[Part]) -> tuple[tuple[str, str, bool], ...]:
    """Give the fields that hold parts with rules: name, encoded name, and whether it is a list."""
    return tuple(
        (field.name, field.encode_name, found.many)
        for field, found in _followed(struct)
        if not found.refers_to and (has_rules(found.kind) or _ruled(found.kind))
    )


def has_rules(struct: type[Part]) -> bool:
    """Tell whether a part has rules of its own, beside those of the parts in it."""
    return struct.faults is not Part.faults


def _ruled_parts(
    part: Part, path: Path, listed: list[tuple[Path, Part]], only: Collection[str] | None = None
) -> list[tuple[Path, Part]]:
    """List a record and every part in it that have rules, each with its path."""
    kind = type(part)
    if has_rules(kind):
        listed.append((path, part))
    for name, key, many in _ruled(kind):
        value = getattr(part, name)
        if not value or (only is not None and key not in only):
            continue
        if not many:
            _ruled_parts(value, (*path, key), listed)
            continue
        for index, item in enumerate(value):
            _ruled_parts(item, (*path, key, index), listed)
    return listed


def references(part: Part, only: Collection[str] | None = None) -> list[Reference]:
    """List every id in a record that must name a record which is not deleted.

    `only` names the properties in which they are looked for.
    """
    listed: list[Reference] = []
    _add_references(part, (), listed, only)
    return listed


def _add_references(
    part: Part, path: Path, listed: list[Reference], only: Collection[str] | None = None
) -> None:
    for name, key, many, to in _places(type(part)):
        value = getattr(part, name)
        if not value or (only is not None and key not in only):
            continue
        where = (*path, key)
        for index, item in enumerate(value if many else (value,)):
            place = (*where, index) if many else where
            if to is not None:
                listed.append(Reference(place, to, item))
            else:
                _add_references(item, place, listed)


def with_references(part: Part, to: RecordType, replaced: Mapping[str, str]) -> Part:
    """Give a record in which other ids stand in the place of some that name records of a type."""
    changed: dict[str, Any] = {}
    for field, found in _referring(type(part)):
        value = getattr(part, field.name)
        if not value or found.refers_to not in (to, None):
            continue

        def new(item: Any, found: Shape = found) -> Any:  # noqa: ANN401 - an id or a part
            return (
                replaced.get(item, item) if found.refers_to else with_references(item, to, replaced)
            )

        changed[field.name] = [new(item) for item in value] if found.many else new(value)
    return msgspec.structs.replace(part, **changed) if changed else part


class Slot(NamedTuple):
    """A place in a JSON object for the id of a record: `holder[key]`."""

    holder: Any  # the object or the list
    key: Any
    to: RecordType
    path: Path

    @property
    def value(self) -> Any:  # noqa: ANN401 - JSON
        """What stands there."""
        return self.holder[self.key]


def slots_in(document: dict[str, Any], struct: type[Struct], path: Path = ()) -> Iterator[Slot]:
    """Yield the places for ids in a JSON object that may be no valid record, if they are filled."""
    for field, found in _referring(struct):
        name = field.encode_name
        if (value := document.get(name)) is None:
            continue
        places: Iterable[tuple[Any, Any, Path]] = [(document, name, (*path, name))]
        if found.many:
            most = len(value[: found.max_items]) if isinstance(value, list) else 0
            places = ((value, index, (*path, name, index)) for index in range(most))
        for holder, key, place in places:
            if found.refers_to:
                yield Slot(holder, key, found.refers_to, place)
            elif isinstance(holder[key], dict):
                yield from slots_in(holder[key], found.kind, place)


def has_object_for_id(document: dict[str, Any], struct: type[Struct]) -> bool:
    """Tell whether an object stands where a JSON object may have the id of a record.

    It takes a quarter of the time of :func:`slots_in`.
    """
    for field, found in _referring(struct):
        value = document.get(field.encode_name)
        items = value if found.many and isinstance(value, list) else (value,)
        for item in items:
            if isinstance(item, dict) and (found.refers_to or has_object_for_id(item, found.kind)):
                return True
    return False


def references_in(document: dict[str, Any], struct: type[Struct]) -> Iterator[Reference]:
    """Yield the references in a JSON object that may be no valid record, where they can be read."""
    for slot in slots_in(document, struct):
        if isinstance(slot.value, str) and re.match(UUID_PATTERN, slot.value):
            yield Reference(slot.path, slot.to, slot.value)


def faults(record: Part, only: Collection[str] | None = None) -> Iterator[Fault]:
    """Yield every rule of the model that a well-typed record breaks.

    `only` names the properties whose parts are looked at, beside the record itself.
    """
    listed = _ruled_parts(record, (), [], only)
    return (fault.under(*path) for path, part in listed for fault in part.faults())


# --- the other forms of a record -------------------------------------------------------------

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
            Version, Meta(description="The version: 1 at first, and 1 more with each change.")
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


def is_vocabulary(kind: Any) -> bool:  # noqa: ANN401 - a type form, which no type describes
    """Tell whether a field's type is a closed list of terms."""
    return isinstance(kind, type) and issubclass(kind, Vocabulary)
