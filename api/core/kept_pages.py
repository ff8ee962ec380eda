"""Kept pages: answers that need not be read again, as long as Postgres says that they are the same.

A page is kept under its name, which has the SHA-256 of every document on it. Postgres finds at each
request which records are on the page now, and who may see them, and compares the name of that page
with the kept one. Only if they are equal, it sends nothing. So a kept page is never older than what
Postgres would have sent, whatever has happened to the records: the same digests are the same bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

MAX_KEPT_BYTES: Final = 32 * 1024**2
"""How many bytes of pages a process keeps: some 90 pages of 50 claims with all that they name."""
MAX_ASKED: Final = 4_096
"""How many pages a process remembers that were asked for once."""
_LARGEST_SHARE: Final = 8
"""A page that takes more than this part of the room is not kept."""
_PAGE_BYTES: Final = 1_024
"""About how many bytes a page has in memory beside its body and its name."""
_KEY_BYTES: Final = 32


class Page(NamedTuple):
    """A page, as the bytes of its JSON, and the cursor of the page behind it."""

    body: bytes
    next_cursor: str | None
    name: bytes | None = None
    """What the page is made of, as Postgres names it; null if it has no name."""


def page_key(*asked: Any) -> bytes:  # noqa: ANN401 - JSON
    """Digest all that a page depends on, beside the records: what is asked for, and who asks."""
    encoded = msgspec.json.encode(asked, order="deterministic")
    return blake2b(encoded, digest_size=_KEY_BYTES).digest()


class KeptPages:
    """The pages that were asked for again and again, those that were asked for last.

    Whoever reads a list from beginning to end drives none of them out: a page is kept when it is
    asked for a second time.
    """

    def __init__(self, most: int = MAX_KEPT_BYTES) -> None:
        """Keep at most so many bytes."""
        self._most = most
        self._pages: OrderedDict[bytes, Page] = OrderedDict()
        self._asked: OrderedDict[bytes, None] = OrderedDict()
        self.size = 0
        """How many bytes are kept, about."""

    def find(self, key: bytes) -> Page | None:
        """Give the page that is kept under a key; only Postgres knows whether it is still the same.

        Null means that this page is asked for the first time in a while: it is not to be kept. If
        it may be kept, but is not yet, it is a page with a name that no page has.
        """
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
            return page
        if key in self._asked:
            self._asked.move_to_end(key)
            return _NONE
        self._asked[key] = None
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        return None

    def keep(self, key: bytes, page: Page) -> None:
        """Keep a page in place of the one before, if it has a name and is not too large."""
        before = self._pages.pop(key, None)
        if before is not None:
            self.size -= _size(before)
        size = _size(page)
        if page.name is None or size > self._most // _LARGEST_SHARE:
            return
        while self.size + size > self._most:
            self.size -= _size(self._pages.popitem(last=False)[1])
        self._pages[key] = page
        self.size += size


_NONE: Final = Page(b"", None, b"")


def _size(page: Page) -> int:
    return len(page.body) + len(page.name or b"") + _PAGE_BYTES
