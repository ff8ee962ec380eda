"""Kept blocks: the texts of the newest blocks, so that a process reads each of them once.

A row of a block never changes (migration 0024), and it has an id that no row with other texts ever
had, not even in a database that was restored from a copy (migration 0028). So what is kept under an
id is what Postgres would send. Which rows there are, and what a reader may know of their changes,
Postgres still says at each reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple
from uuid import UUID

MAX_KEPT_BYTES: Final = 32 * 1024**2
"""How many bytes of blocks a process keeps: some 17,000 changes of claims with 1.9 kB each."""
_KIND_BYTES: Final = 4_096
"""About how many bytes a kind has in memory beside its texts."""


class Kind(NamedTuple):
    """The changes of one kind in a block, which are the same for all readers."""

    block: int
    op: str
    places: Sequence[int]  # of the changes in the block, from 1 to 64
    ends: Sequence[int]  # of each text; a comma follows
    texts: bytes


class KeptBlocks:
    """The kinds of the blocks with the highest numbers, as far as they were read.

    Reading older blocks never removes them.
    """

    def __init__(self, most: int = MAX_KEPT_BYTES) -> None:
        """Keep at most so many bytes."""
        self._most = most
        self._blocks: dict[int, dict[UUID, Kind]] = {}
        self._numbers: list[int] = []  # of the blocks; a heap
        self.size = 0
        """How many bytes are kept, about."""

    def within(self, first: int, last: int) -> dict[UUID, Kind]:
        """Give what is kept of the blocks from number `first` to the one before `last`, by id."""
        blocks = (self._blocks.get(number) for number in range(first, last))
        return {identity: kind for block in blocks if block for identity, kind in block.items()}

    def add(self, identity: UUID, kind: Kind) -> None:
        """Keep a kind, unless newer ones would have to be removed for it."""
        size = _size(kind)
        while self._numbers and self.size + size > self._most and self._numbers[0] < kind.block:
            self.size -= sum(map(_size, self._blocks.pop(heappop(self._numbers)).values()))
        if self.size + size > self._most:
            return
        block = self._blocks.get(kind.block)
        if block is None:
            block = self._blocks[kind.block] = {}
            heappush(self._numbers, kind.block)
        if identity not in block:
            block[identity] = kind
            self.size += size

    def clear(self) -> None:
        """Drop everything that was kept: its blocks are gone."""
        self._blocks.clear()
        self._numbers.clear()
        self.size = 0


def _size(kind: Kind) -> int:
    return len(kind.texts) + _KIND_BYTES
