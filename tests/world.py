"""A small world of records for tests: named, linked by `@name`, kept apart by a tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx

Record = dict[str, Any]

MERGE_PATCH = {"content-type": "application/merge-patch+json", "if-match": "*"}
MINIMAL: Mapping[str, Mapping[str, Any]] = {
    "articles": {"headline": "A headline"},
    "claims": {"text": "Something is so"},
    "denials": {"text": "They answer", "kind": "full_denial", "targets": [{"text": "all of it"}]},
    "sources": {"kind": "person", "name": "Somebody"},
}
"""The least that makes a record of each type."""
NEEDED_BY: Mapping[str, frozenset[str]] = {
    "exact": frozenset({"value"}),
    "approximately": frozenset({"value"}),
    "at_least": frozenset({"lower"}),
    "more_than": frozenset({"lower"}),
    "at_most": frozenset({"upper"}),
    "fewer_than": frozenset({"upper"}),
    "approaching": frozenset({"upper"}),
    "between": frozenset({"lower", "upper"}),
    "vague": frozenset({"term"}),
}
"""What each qualifier of a figure needs; the others of these fields stay empty."""


class World:
    """Records of one test or module, under names of their own."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Start with nothing; other worlds in the same database have another tag."""
        self.client = client
        self.tag = uuid4().hex
        self._places: dict[str, tuple[str, str]] = {}

    def id(self, name: str) -> str:
        """Give a record's id."""
        return self._places[name][1]

    def at(self, name: str) -> str:
        """Give a record's path."""
        plural, identity = self._places[name]
        return f"/v1/{plural}/{identity}"

    def body(self, plural: str, fields: Mapping[str, Any]) -> Record:
        """Write a body: the least there must be, then the fields, their `@name`s resolved."""
        found: Record = self.resolved({**MINIMAL[plural], **fields})
        return found

    def resolved(self, value: Any) -> Any:
        """Put ids in the place of `@name`s."""
        if isinstance(value, str) and value.startswith("@"):
            return self.id(value[1:])
        if isinstance(value, Mapping):
            return {key: self.resolved(item) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self.resolved(item) for item in value]
        return value

    def named(self, value: Any) -> Any:
        """Put names in the place of ids, in the keys of objects as well."""
        names = {identity: name for name, (_, identity) in self._places.items()}

        def replaced(found: Any) -> Any:
            if isinstance(found, dict):
                return {names.get(key, key): replaced(each) for key, each in found.items()}
            if isinstance(found, list):
                return [replaced(each) for each in found]
            return names.get(found, found) if isinstance(found, str) else found

        return replaced(value)

    async def add(self, plural: str, name: str, /, **fields: Any) -> Record:
        """Create a record and name it."""
        tags = [self.tag, *fields.pop("tags", [])]
        response = await self.client.post(
            f"/v1/{plural}", json=self.body(plural, {**fields, "tags": tags})
        )
        assert response.status_code == 201, response.text
        found: Record = response.json()
        self._places[name] = plural, found["id"]
        return found

    async def refused(self, plural: str, /, **fields: Any) -> dict[str, str]:
        """Try to create a record; give what is wrong with it, code by pointer."""
        response = await self.client.post(f"/v1/{plural}", json=self.body(plural, fields))
        return faults(response)

    async def get(self, name: str) -> Record:
        """Read a record."""
        response = await self.client.get(self.at(name))
        assert response.status_code == 200, response.text
        found: Record = response.json()
        return found

    async def patch(self, name: str, /, **fields: Any) -> Record:
        """Change some fields of a record."""
        response = await self.client.patch(
            self.at(name), json=self.resolved(fields), headers=MERGE_PATCH
        )
        assert response.status_code == 200, response.text
        found: Record = response.json()
        return found

    async def put(self, name: str, fields: Mapping[str, Any]) -> httpx.Response:
        """Replace a record by these fields."""
        return await self.client.put(
            self.at(name), json=self.resolved(fields), headers={"if-match": "*"}
        )

    async def delete(self, name: str) -> httpx.Response:
        """Try to delete a record."""
        return await self.client.delete(self.at(name), headers={"if-match": "*"})

    async def ask(self, plural: str, query: str) -> set[str]:
        """Ask a list, with `@name`s for ids; give the names of the records of this world in it."""
        pairs = [pair.partition("=") for pair in query.split("&") if pair]
        parameters = [(key, self.resolved(value)) for key, _, value in pairs]
        parameters += [("tag", self.tag), ("limit", "200")]
        response = await self.client.get(f"/v1/{plural}", params=parameters)
        assert response.status_code == 200, response.text
        names = {identity: name for name, (_, identity) in self._places.items()}
        return {names[item["id"]] for item in response.json()["items"]}


def faults(response: httpx.Response, status: int = 422) -> dict[str, str]:
    """Give what a refusal says is wrong, code by pointer."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    errors = response.json()["errors"]
    found = {error["pointer"]: error["code"] for error in errors}
    assert len(found) == len(errors), errors
    return found


def span(text: str, words: str, **more: Any) -> Record:
    """Mark the first place where words stand in a text, counted in code points."""
    start = text.index(words)
    return {"start": start, "end": start + len(words), "exact": words, **more}


def content(record: Mapping[str, Any], *also: str) -> Record:
    """Leave out what the server sets on every record, and what else is named."""
    server = {"id", "version", "created_at", "updated_at", *also}
    return {key: value for key, value in record.items() if key not in server}
