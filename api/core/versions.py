"""The versions of a record in HTTP: ETags and preconditions (RFC 9110, section 13).

A client names the version that it has read by the record's ETag, or by its number as `"v3"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from api.core.errors import INVALID_HEADER, PRECONDITION_REQUIRED, Problem
from api.core.request import Answer, Request, header_values

DOCUMENT_FORMAT: Final = 2
"""A part of every ETag. Raise it in a migration that changes documents without new versions."""


def etag(identity: str, version: int) -> str:
    """Write the strong ETag of a record's version."""
    return f'"{identity}.{version}.{DOCUMENT_FORMAT}"'


def version_tag(version: int) -> str:
    """Write the tag that names a version in If-Match, whatever the format of the document."""
    return f'"v{version}"'


_TAGS = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"(?:[ \t]*,[ \t]*(?:W/)?"[\x21\x23-\x7e]*")*\Z')
_TAG = re.compile(r'(?:W/)?"[^"]*"')


class Preconditions(NamedTuple):
    """The versions that a request expects; null without the header."""

    if_match: tuple[str, ...] | None  # ("*",) means any version
    if_none_match: tuple[str, ...] | None

    @property
    def to_create(self) -> bool:
        """Whether the record must not exist yet."""
        return self.if_none_match == ("*",)

    def match(self, identity: str, version: int) -> bool:
        """Tell whether If-Match names a version of a record; weak tags never match."""
        tags = self.if_match or ()
        return tags == ("*",) or etag(identity, version) in tags or version_tag(version) in tags

    def versions(self, identity: str) -> list[int] | None:
        """List the versions of a record that If-Match names; null for any version."""
        if self.if_match == ("*",):
            return None
        number = "([1-9][0-9]{0,8})"
        own = re.compile(rf'"(?:v{number}|{identity}\.{number}\.{DOCUMENT_FORMAT})"\Z')
        named = (own.match(tag) for tag in self.if_match or ())
        return [int(match[1] or match[2]) for match in named if match]


def preconditions(request: Request) -> Preconditions:
    """Read If-Match and If-None-Match."""
    return Preconditions(_tags(request, "If-Match"), _tags(request, "If-None-Match"))


def required_match(request: Request) -> Preconditions:
    """Read the preconditions of a write that needs If-Match."""
    expected = preconditions(request)
    if expected.if_match is None:
        raise Problem(PRECONDITION_REQUIRED)
    return expected


def _tags(request: Request, name: str) -> tuple[str, ...] | None:
    values = header_values(request, name.lower().encode())
    if not values:
        return None
    value = ", ".join(values).strip()
    if value == "*":
        return ("*",)
    if not _TAGS.match(value):
        raise Problem(INVALID_HEADER, f"`{name}` takes `*` or a list of quoted ETags.")
    return tuple(_TAG.findall(value))


def not_modified(request: Request, tag: str) -> bool:
    """Tell whether If-None-Match names this ETag, by weak comparison (RFC 9110)."""
    tags = _tags(request, "If-None-Match")
    if tags is None:
        return False
    return tags == ("*",) or tag in [sent.removeprefix("W/") for sent in tags]


def record_answer(
    identity: str,
    version: int,
    doc: bytes,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Answer with a record and its ETag."""
    return Answer(doc, status, headers={"etag": etag(identity, version), **(headers or {})})
