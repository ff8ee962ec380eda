"""What schemathesis has to be told: how NDJSON is written."""

from __future__ import annotations

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """Write one line."""
    return json.dumps(value).encode() + b"\n"
