"""Visible changes: a change of the feed as one reader may know it."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from api.core.caller import Caller
from api.sync.feed.stretches import CHANGE_BYTES, LoggedChange
from schemas.vocabularies import ChangeOp, RecordType


class VisibleChange(NamedTuple):
    """A change as one reader sees it."""

    seq: int
    op: ChangeOp
    type: RecordType
    id: str
    version: int
    at: dt.datetime
    record: bytes | None

    @property
    def size(self) -> int:
        """About how many bytes it has in memory."""
        return len(self.record or b"") + CHANGE_BYTES

    def encoded(self) -> bytes:
        """Write the change as JSON, with the record's bytes as they are stored."""
        at = in_utc(self.at)
        return b'{"seq":%d,"op":"%b","type":"%b","id":"%b","version":%d,"at":"%b","record":%b}' % (
            self.seq,
            self.op.value.encode(),
            self.type.value.encode(),
            self.id.encode(),
            self.version,
            at.encode(),
            self.record or b"null",
        )


def in_utc(at: dt.datetime) -> str:
    """Write an instant in UTC (RFC 3339)."""
    return at.isoformat().replace("+00:00", "Z")


def visible_change(change: LoggedChange, caller: Caller) -> VisibleChange | None:
    """Give a change as a caller sees it; null if the caller may not know of it.

    A record that becomes visible to the caller counts as `created`, and one that becomes invisible
    as `removed`. The record's content is included if the caller could see it after the change, and
    can see today the record and the articles that this content quotes.
    """
    classes = caller.classes[change.type]
    before, after = change.before in classes, change.after in classes
    op = change.op
    if not after:
        if not before:
            return None
        op = ChangeOp.REMOVED
    elif not before:
        if op is ChangeOp.DELETED:
            return None
        op = ChangeOp.CREATED
    quotes_hidden = change.quotes_hidden and not caller.sees_hidden_articles
    has_record = op is not ChangeOp.REMOVED and change.now in classes and not quotes_hidden
    return VisibleChange(
        change.seq,
        op,
        change.type,
        change.id,
        change.version,
        change.at,
        change.doc if has_record else None,
    )
