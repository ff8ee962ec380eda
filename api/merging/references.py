"""References to a merged source: change them to the survivor, and change them back.

It is a pure computation on the columns of a record that can name sources.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from api.core.errors import pointer
from api.core.resource import Resource
from schemas.shapes import fields, shape
from schemas.vocabularies import RecordType, SourceRelationKind

Columns = Mapping[str, tuple[str, ...]]
"""The columns that can name sources; of a list, with the properties of its items that can."""
Content = dict[str, Any]
"""The values of these columns, as JSON."""

_KEYS: Final = {"members": "role", "relations": "kind", "parties": "role", "credits": "role"}
"""The lists in which a source stands once for each of these properties."""
SYMMETRIC: Final = (SourceRelationKind.POSSIBLY_SAME_AS, SourceRelationKind.DISTINCT_FROM)


class Followed(NamedTuple):
    """A reference that was changed to the survivor, or dropped as a repetition."""

    path: str  # a JSON pointer: to where it stands now or, if it was dropped, to its item before
    item: Any  # the item of the list in which it stands, or stood; null if it is not in a list
    item_count: int  # of that list, now
    dropped: bool = False


class Entry(NamedTuple):
    """A reference that a merge has followed, as the log has it."""

    id: int
    merge_id: int
    source_id: str  # what it named before
    survivor_id: str
    followed: Followed


class Returned(NamedTuple):
    """What came of the references of one merge in a record: the ids of their entries."""

    content: Content
    restored: list[int]
    changed: list[int]  # somebody has changed them since, so they stay
    passed: list[int]  # entries of later merges, that the restored references had followed
    paths: dict[int, str]  # of entries of later merges, which stand at other places now


@cache
def columns_of(resource: Resource) -> Columns:
    """List the columns of a record type that can name sources."""
    found: dict[str, tuple[str, ...]] = {}
    for field in fields(resource.create):
        column = shape(field.type)
        if column.refers_to is RecordType.SOURCE:
            found[field.encode_name] = ()
        elif column.many and hasattr(column.kind, "__struct_fields__"):
            names = tuple(
                each.encode_name
                for each in fields(column.kind)
                if shape(each.type).refers_to is RecordType.SOURCE
            )
            if names:
                found[field.encode_name] = names
    return found


def named_sources(content: Content, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield each source that a record names, behind the JSON pointer to it."""
    for column, names in columns.items():
        if not names and content[column]:
            yield pointer((column,)), content[column]
        for index, item in enumerate(content[column] if names else ()):
            for name in names:
                if item.get(name):
                    yield pointer((column, index, name)), item[name]


def follow(
    content: Content,
    columns: Columns,
    record_id: str,
    source_id: str,
    survivor_id: str,
    taken: Collection[tuple[str, str]] = (),
) -> tuple[Content, list[Followed]]:
    """Make a record name the survivor in the place of a merged source.

    A reference is dropped if it would name the record itself or stand in the list twice, or if it
    is among those `taken`: the symmetric relations that the survivor states, by record and kind.
    `record_id` is that of a source; no other record can name itself.
    """
    new: Content = {}
    followed: list[Followed] = []
    for column, names in columns.items():
        value = content[column]
        if not names:
            if value == source_id:
                value = None if record_id == survivor_id else survivor_id
                path = pointer((column,))
                followed.append(Followed(path, None, 0, dropped=value is None))
            new[column] = value
            continue
        new[column], some = _follow_list(
            column, names, value, record_id, source_id, survivor_id, taken
        )
        followed += some
    return new, followed


def _follow_list(
    column: str,
    names: tuple[str, ...],
    items: Sequence[Any],
    record_id: str,
    source_id: str,
    survivor_id: str,
    taken: Collection[tuple[str, str]],
) -> tuple[list[Any], list[Followed]]:
    key = _KEYS.get(column)
    is_survivor = record_id == survivor_id
    kept: list[Any] = []
    found: list[tuple[tuple[str | int, ...], Any, bool]] = []
    there = {(item["source_id"], item.get(key)) for item in items} if key else set()
    for index, item in enumerate(items):
        named = [name for name in names if item.get(name) == source_id]
        if not named:
            kept.append(item)
        elif key is not None and (
            is_survivor
            or (survivor_id, item.get(key)) in there
            or (column == "relations" and (record_id, item.get(key)) in taken)
        ):
            found.append(((column, index, named[0]), item, True))
        else:
            changed = {**item, **dict.fromkeys(named, None if is_survivor else survivor_id)}
            found += [((column, len(kept), name), changed, is_survivor) for name in named]
            kept.append(changed)
    followed = [Followed(pointer(path), item, len(kept), is_out) for path, item, is_out in found]
    return kept, followed


def named_by_dropped(followed: Followed) -> str | None:
    """Give the source that a dropped item names; null for a reference that is not dropped.

    It is another one than the merged source if the merge only stood in the way of the item.
    """
    if not followed.dropped or followed.item is None:
        return None
    named: str | None = followed.item.get(_place_of(followed.path)[2])
    return named


def leads_to(entry: Entry, survivor_id: str, kind: str) -> bool:
    """Tell whether an entry is about a relation that a merge has changed to name a source."""
    return (
        not entry.followed.dropped
        and _place(entry)[0] == "relations"
        and (entry.survivor_id, entry.followed.item["kind"]) == (survivor_id, kind)
    )


def give_back(
    content: Content, columns: Columns, entries: Sequence[Entry], merge_id: int
) -> Returned:
    """Change the references in one record back to the merged source, if they were not edited.

    `entries` are the references in this record that any merge has followed, in their order.
    """
    new = {column: _copied(content[column]) for column in columns}
    returned = Returned(new, [], [], [], {})
    own = [each for each in entries if each.merge_id == merge_id]
    for entry in sorted(own, key=lambda each: (each.followed.dropped, _place(each))):
        path = _trace(entry, entries, columns)
        done = path is not None and _return_one(new, columns, entry, path, entries, returned)
        (returned.restored if done else returned.changed).append(entry.id)
        if path is not None and done:
            returned.passed.extend(each.id for each in path)
    return returned


def _copied(value: Any) -> Any:  # noqa: ANN401 - JSON
    return [dict(item) for item in value] if isinstance(value, list) else value


def _place(entry: Entry) -> tuple[str, int, str]:
    """Take the pointer of an entry apart: the column, the index and the property of the item."""
    return _place_of(entry.followed.path)


def _place_of(path: str) -> tuple[str, int, str]:
    column, index, name = (*path[1:].split("/"), "-1", "")[:3]
    return column, int(index), name


def _trace(entry: Entry, entries: Sequence[Entry], columns: Columns) -> list[Entry] | None:
    """Find the later merges that changed the same reference; null if somebody else did."""
    if entry.followed.dropped:
        return []
    path = [entry]
    while True:
        expected = path[-1].survivor_id
        later = [
            each for each in entries if each.id > path[-1].id and _is_same(each, entry, columns)
        ]
        at_same_place = [each for each in later if each.followed.path == entry.followed.path]
        if any(
            each.survivor_id == expected and each.source_id != expected for each in at_same_place
        ):
            return None
        following = [each for each in (*at_same_place, *later) if each.source_id == expected]
        if not following:
            return path[1:]
        path.append(following[0])
        if following[0].followed.dropped:
            return path[1:]


def _is_same(one: Entry, other: Entry, columns: Columns) -> bool:
    """Tell whether two entries may be about the same reference, whatever it names."""
    column, _, name = _place(one)
    return (column, name) == _place(other)[::2] and _bare(
        one.followed.item, columns[column]
    ) == _bare(other.followed.item, columns[column])


def _bare(item: Any, names: Iterable[str]) -> Any:  # noqa: ANN401 - JSON
    """Give an item without the sources that it names."""
    return item and {key: value for key, value in item.items() if key not in names}


def _return_one(
    content: Content,
    columns: Columns,
    entry: Entry,
    path: Sequence[Entry],
    entries: Sequence[Entry],
    returned: Returned,
) -> bool:
    """Change one reference back that later merges have changed; tell whether that was possible."""
    last = path[-1] if path else entry
    column, index, name = _place(last)
    names = columns[column]
    if last.followed.dropped and column in _KEYS:
        item = {**last.followed.item, name: entry.source_id}
        key = _KEYS[column]
        if any(
            (each.get(name), each.get(key)) == (item[name], item.get(key))
            for each in content[column]
        ):
            return False
        later = [e for e in entries if e.id > last.id and e.merge_id != last.merge_id]
        content[column].insert(_index_of(index, column, later, returned), item)
        return True
    expected = None if last.followed.dropped else last.survivor_id
    if not names:
        stands = content[column] == expected
        content[column] = entry.source_id if stands else content[column]
        return bool(stands)
    found = _find_item(content[column], names, last.followed, index, name, expected)
    if found is None:
        return False
    found[name] = entry.source_id
    return True


def _index_of(index: int, column: str, later: Sequence[Entry], returned: Returned) -> int:
    """Give the index at which an item is inserted that was dropped before later merges.

    What those have dropped in front of it is not there, and what they did behind it moves.
    """
    for each in later:
        path = returned.paths.get(each.id, each.followed.path)
        there, at, name = _place_of(path)
        if there != column or each.id in (*returned.restored, *returned.passed):
            continue
        if at >= index:
            returned.paths[each.id] = pointer((there, at + 1, name))
        elif each.followed.dropped and column in _KEYS:
            index -= 1
    return index


def _find_item(
    items: Sequence[Any],
    names: Iterable[str],
    followed: Followed,
    index: int,
    name: str,
    expected: str | None,
) -> Any:  # noqa: ANN401 - JSON
    """Find the item in which a reference was left; null if it is not there any more."""
    bare = _bare(followed.item, names)
    same = [i for i in items if i.get(name) == expected and _bare(i, names) == bare]
    at_index = items[index] if index < len(items) else None
    if any(each is at_index for each in same):
        return at_index
    if same:
        return same[0]
    if (
        len(items) == followed.item_count
        and at_index is not None
        and at_index.get(name) == expected
    ):
        return at_index  # only something else in the item has changed
    return None
