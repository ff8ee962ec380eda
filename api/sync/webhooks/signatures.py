"""Secrets and signatures of messages, by the specification of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import blake2b, sha256
from typing import Final

_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32  # the specification asks for 24 to 64
_ID_BYTES: Final = 20


def new_secret() -> str:
    """Make a random secret."""
    return _PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def message_id(*parts: str | int) -> str:
    """Make a message's id from its parts: the same parts always give the same id.

    The id has no full stop. The signed text has one between its parts, and with another one in the
    id it could be read in two ways.
    """
    text = "\t".join(map(str, parts)).encode()
    return "msg_" + blake2b(text, digest_size=_ID_BYTES, person=b"message").hexdigest()


def signature_headers(
    secrets_: Iterable[str], identity: str, timestamp: int, body: bytes
) -> list[tuple[bytes, bytes]]:
    """Write the headers that carry a message's signatures, one for each secret."""
    content = f"{identity}.{timestamp}.".encode() + body
    signatures = " ".join(f"v1,{_signature(secret, content)}" for secret in secrets_)
    return [
        (b"webhook-id", identity.encode()),
        (b"webhook-timestamp", str(timestamp).encode()),
        (b"webhook-signature", signatures.encode()),
    ]


def _signature(secret: str, content: bytes) -> str:
    key = b64decode(secret.removeprefix(_PREFIX))
    return b64encode(hmac.digest(key, content, sha256)).decode()
