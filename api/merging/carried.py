"""The names and external ids that a survivor gets by a merge and loses by its unmerge.

It is a pure computation on these two lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from schemas.base import MAX_EXTERNAL_IDS
from schemas.sources import MAX_NAMES

Lists = dict[str, Any]
"""A source's `name`, `names` and `external_ids`."""
Added = dict[str, list[Any]]
"""The items of `names` and `external_ids` that a survivor got."""

MOST: Final = {"names": MAX_NAMES, "external_ids": MAX_EXTERNAL_IDS}
"""How many items each of these lists takes."""
_LISTS: Final = tuple(MOST)


class Merge(NamedTuple):
    """A merge into some source: what the merged source brings, and what was added for it."""

    id: int
    brings: Lists
    added: Added


def added(brings: Lists, survivor: Lists) -> Added:
    """List what a survivor gets that it does not have yet."""
    offered = [*brings["names"]]
    if brings["name"] is not None:
        offered.insert(0, {"name": brings["name"], "language": "und", "kind": "alias"})
    known = {survivor["name"], *(each["name"] for each in survivor["names"])}
    names = []
    for each in offered:
        if each["name"] not in known:
            known.add(each["name"])
            names.append(each)
    there = survivor["external_ids"]
    return {
        "names": names,
        "external_ids": [each for each in brings["external_ids"] if each not in there],
    }


def with_added(survivor: Lists, new: Added) -> Lists:
    """Give a survivor's lists with what it gets."""
    return {**survivor, **{name: [*survivor[name], *new[name]] for name in _LISTS}}


def without(survivor: Lists, old: Added) -> tuple[Lists, Added]:
    """Give a survivor's lists without what it got, and what of that was still there."""
    lists, stood = {**survivor}, {name: list[Any]() for name in _LISTS}
    for name in _LISTS:
        left = list(survivor[name])
        for item in reversed(old[name]):
            if item in left:
                # The last one: what was there before stands in front of it.
                del left[len(left) - 1 - left[::-1].index(item)]
                stood[name].insert(0, item)
        lists[name] = left
    return lists, stood


def rebuilt(
    survivor: Lists, merges: Sequence[Merge], brings: Lists | None
) -> tuple[Lists, list[Merge]]:
    """Undo the first of some merges into a survivor, or do it anew with other lists.

    `merges` are those into this survivor from that one on. What somebody has removed stays removed.
    Gives the survivor's lists, and the merges with what is added for them now.
    """
    stood: dict[int, Added] = {}
    for each in reversed(merges):
        survivor, stood[each.id] = without(survivor, each.added)
    first, *others = merges
    again = others if brings is None else [first._replace(brings=brings), *others]
    done = []
    for each in again:
        new = added(each.brings, survivor)
        for name in _LISTS:
            removed = [i for i in each.added[name] if i not in stood[each.id][name]]
            new[name] = [item for item in new[name] if item not in removed]
        survivor = with_added(survivor, new)
        done.append(each._replace(added=new))
    return survivor, done
