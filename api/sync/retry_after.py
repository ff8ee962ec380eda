"""The `Retry-After` header of an answer that this service gets (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import datetime as dt
from email.utils import parsedate_to_datetime


def retry_after_seconds(value: str | None) -> float:
    """Read how many seconds from now a server asks to wait; 0 if it does not say."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
        at = at.replace(tzinfo=at.tzinfo or dt.UTC)
        return max((at - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):  # not a valid date
        return 0.0
