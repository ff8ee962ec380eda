"""Nodes: the objects of a document in the terms of schema.org, however loosely it is written.

Public feeds give a list where one value is meant, a text where an object is meant, HTML entities in
texts, and objects in another place of the document than the one that names them. What can be told
without a guess is read; anything else is a fault, with its place and the way out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from schemas.base import Fault, Path

Json = Any
MAX_FAULTS: Final = 20
"""A review lists no more faults than this."""
MAX_URL: Final = 2_000
MAX_VALUES: Final = 100
"""Of a property no more values are looked at, with the lists and the empty ones among them."""
_MAX_ESCAPED: Final = 8
"""A text is no longer than so many times its limit before its entities are replaced."""
_SCHEMA: Final = re.compile(r"\A(?:https?://schema\.org/|schema:)")
_SAME: Final = {"type": "@type", "id": "@id"}
"""What the context of schema.org calls two keywords."""
INSIDE: Final = ("@graph", "dataFeedElement", "item", "review")
"""The properties in which there are further reviews to look for."""
_READ: Final = frozenset(
    (
        *INSIDE,
        *("@id", "@type", "alternateName", "appearance", "author", "bestRating", "claimReviewed"),
        *("dateCreated", "datePublished", "firstAppearance", "headline", "inLanguage"),
        *("itemReviewed", "jobTitle", "name", "publisher", "ratingExplanation", "ratingValue"),
        *("reviewBody", "reviewRating", "text", "url", "worstRating"),
    )
)
"""The properties that are read."""
MAX_INNER: Final = 2_000
"""So many nodes inside of others are kept for the next review, which is more than one can have."""
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""An entity with its semicolon. HTML knows some without, but `&copy=1` is no copyright sign."""
_MAX_UNESCAPED: Final = 2
"""Texts are found that were escaped twice."""


class Node:
    """An object of a document: its place, its types, and those of its properties that are read.

    Types and properties have their names in schema.org.
    """

    __slots__ = ("path", "properties", "types")

    def __init__(self, value: Mapping[str, Json], path: Path) -> None:
        """Give each property its own name; of the same under two names, the first counts."""
        self.path = path
        self.properties: dict[str, tuple[str, Json]] = {}
        for key, each in value.items():
            if (name := local_name(key)) in _READ:
                self.properties.setdefault(name, (key, each))
        _, given = self.properties.get("@type", ("", ()))
        listed = given[:MAX_VALUES] if isinstance(given, list) else [given]
        self.types = frozenset(local_name(each) for each in listed if isinstance(each, str))

    @property
    def iri(self) -> str | None:
        """The id of the object, if it holds beyond its document."""
        _, given = self.properties.get("@id", ("", None))
        if isinstance(given, str) and _IRI.match(given) and not given.startswith("_:"):
            return given
        return None

    def place(self, name: str) -> Path:
        """Give the place of a property, whether it is there or not."""
        key, _ = self.properties.get(name, (name, None))
        return (*self.path, key)


_IRI: Final = re.compile(r"(?:https?|urn):[!-~]{1,2000}\Z")


def local_name(name: str) -> str:
    """Give the name of a term of schema.org without its prefix."""
    name = _SCHEMA.sub("", name, count=1)
    return _SAME.get(name, name)


class Value(NamedTuple):
    """A value of a property that is neither a list nor empty, and its place."""

    path: Path
    value: Json


class Shared(NamedTuple):
    """What the reviews of a document have in common, since many may name the same nodes."""

    named: dict[str, Node]  # those that have an id
    inner: dict[Path, Node]  # those inside of others that were read, each made once
    texts: dict[str, str]  # each cleaned once


class Reader:
    """Reads the properties of nodes, and notes what is wrong with them."""

    def __init__(self, shared: Shared) -> None:
        """Know what other reviews of the document have in common with this one."""
        self._shared = shared
        self.faults: list[Fault] = []

    def refuse(self, path: Path, code: str, detail: str) -> None:
        """Note a fault."""
        fault = Fault(path, code, detail)
        if len(self.faults) < MAX_FAULTS and fault not in self.faults:
            self.faults.append(fault)

    def has_refused(self, place: Path) -> bool:
        """Tell whether something at a place, or in it, is wrong."""
        return any(fault.path[: len(place)] == place for fault in self.faults)

    def values(self, node: Node, name: str) -> list[Value]:
        """List the values of a property; null and empty ones are none."""
        if name not in node.properties:
            return []
        key, given = node.properties[name]
        found, all_of_them = _flat(given, (*node.path, key))
        if not all_of_them:
            detail = f"Fewer than {MAX_VALUES:,} values, also empty ones. Leave some out."
            self.refuse(node.place(name), "invalid-value", detail)
            return []
        return found

    def text(self, node: Node, name: str, most: int) -> str | None:
        """Read a property that has one text of at most some characters, or none."""
        found = [value for each in self.values(node, name) if (value := self._as_text(each, most))]
        return self._only(node, name, found)

    def line(self, node: Node, name: str, most: int) -> str | None:
        """Read such a text as one line."""
        text = self.text(node, name, most)
        return " ".join(text.split()) if text is not None else None

    def url(self, node: Node, name: str) -> str | None:
        """Read a property that has one address, or none."""
        addresses = map(self._address, self.values(node, name))
        return self._only(node, name, [url for each in addresses if (url := self.as_url(each))])

    def nodes(self, node: Node, name: str, most: int) -> list[Node | Value]:
        """List the objects of a property, and the texts that stand in the place of one."""
        found: list[Node | Value] = []
        values = self.values(node, name)
        if len(values) > most:
            detail = f"At most {most} values, not {len(values):,}. Leave some out."
            self.refuse(node.place(name), "invalid-value", detail)
        for each in values[:most]:
            if isinstance(each.value, dict):
                found.append(self._meant(self._inner(each)))
            elif isinstance(each.value, str):
                found.append(each)
            else:
                self.refuse(each.path, "wrong-type", "It must be an object or a text.")
        return found

    def as_url(self, given: Value) -> str | None:
        """Read an absolute address; what is not ASCII is written as RFC 3987 says."""
        path, value = given
        if not isinstance(value, str):
            self.refuse(path, "wrong-type", "It must be an address, as a text.")
            return None
        written = _in_ascii(cleaned(value[: 8 * MAX_URL]))
        if written is None or len(written) > MAX_URL:
            detail = (
                f"It must be an absolute address of at most {MAX_URL:,} characters, such as "
                "`https://example.org/report`."
            )
            self.refuse(path, "invalid-value", detail)
            return None
        return written

    def iri_as_url(self, node: Node) -> str | None:
        """Read the id of a node as its address, if it is one of the web."""
        iri = node.iri
        if iri is None or not iri.startswith("http"):
            return None
        return self.as_url(Value(node.place("@id"), iri))

    def _as_text(self, given: Value, most: int) -> str | None:
        if not isinstance(given.value, str):
            self.refuse(given.path, "wrong-type", "It must be a text.")
            return None
        text = given.value
        if len(text) <= _MAX_ESCAPED * most:
            text = self._cleaned(text)
        if len(text) > most:
            detail = f"At most {most:,} characters, not {len(text):,}. Shorten it."
            self.refuse(given.path, "invalid-value", detail)
            return None
        return text or None

    def _cleaned(self, text: str) -> str:
        if "&" not in text:
            return text.strip()
        if text not in self._shared.texts:
            self._shared.texts[text] = cleaned(text)
        return self._shared.texts[text]

    def _only(self, node: Node, name: str, found: list[str]) -> str | None:
        """Give the only one of some values; the same twice is one."""
        if len(set(found)) > 1:
            detail = f"It must be one value, not {len(found):,} that differ. Keep the one meant."
            self.refuse(node.place(name), "invalid-value", detail)
        return found[0] if found else None

    def _meant(self, node: Node) -> Node:
        """Give the node of the document that one means which has nothing but an id."""
        _, identity = node.properties.get("@id", ("", None))
        if node.properties.keys() == {"@id"} and isinstance(identity, str):
            return self._shared.named.get(identity, node)
        return node

    def _inner(self, given: Value) -> Node:
        """Give an object as a node, which is made once."""
        inner = self._shared.inner
        if given.path not in inner:
            if len(inner) >= MAX_INNER:
                inner.clear()
            inner[given.path] = Node(given.value, given.path)
        return inner[given.path]

    def _address(self, given: Value) -> Value:
        """Give the address that stands in an object, where an address was meant."""
        if not isinstance(given.value, dict):
            return given
        properties = self._inner(given).properties
        key, value = properties.get("@id") or properties.get("url") or ("", given.value)
        return Value((*given.path, key), value) if key else given


def _flat(given: Json, path: Path) -> tuple[list[Value], bool]:
    """List the values of a list, and what stands in an object for a plain value or a list.

    Tell whether these are all; after so many as are looked at, the others are left out.
    """
    found = []
    left = [Value(path, given)]
    for _ in range(MAX_VALUES):
        if not left:
            break
        value = left.pop()
        path, given = value
        if isinstance(given, list):
            some = [Value((*path, index), each) for index, each in enumerate(given[:MAX_VALUES])]
            left.extend(reversed(some))
        elif isinstance(given, dict):
            wrapped = next((key for key in ("@value", "@list", "@set") if key in given), None)
            if wrapped is not None:
                left.append(Value((*path, wrapped), given[wrapped]))
            elif given:
                found.append(value)
        elif given is not None and not (isinstance(given, str) and not given.strip()):
            found.append(value)
    return found, not left


def cleaned(text: str) -> str:
    """Replace HTML entities by what they stand for, and drop the space around a text."""
    for _ in range(_MAX_UNESCAPED):
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text.strip()


def _in_ascii(address: str) -> str | None:
    """Write an absolute http or https address in ASCII (RFC 3987, section 3.1)."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if parts.scheme.lower() not in {"http", "https"} or not host or " " in parts.netloc:
            return None
        network = parts.netloc if "@" in parts.netloc else parts.netloc.lower()
        if not network.isascii():
            network = network.lower().replace(host, host.encode("idna").decode())
    except ValueError:  # a port or brackets that are none, or a name that no host can have
        return None
    if not _NETWORK.match(network):
        return None
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    rest = quote(f"{parts.path}{query}{fragment}", safe="%/:?#[]@!$&'()*+,;=~._-")
    return f"{parts.scheme.lower()}://{network}{rest}"


_NETWORK: Final = re.compile(r"[A-Za-z0-9._~\[\]@!$&'()*+,;=:%-]+\Z")
