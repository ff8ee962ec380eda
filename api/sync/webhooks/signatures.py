"""Secrets and signatures of messages, as Standard Webhooks has them.

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
_SECRET_BYTES: Final = 32  # the specification wants 24 to 64
_ID_BYTES: Final = 20


def new_secret() -> str:
    """Make a secret."""
    return _PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def message_id(*parts: str | int) -> str:
    """Name a message by what makes it: the same parts give the same name.

    It has no full stop, which would let the signed text be taken apart in two ways.
    """
    text = "\t".join(map(str, parts)).encode()
    return "msg_" + blake2b(text, digest_size=_ID_BYTES, person=b"message").hexdigest()


def signed(
    secrets_: Iterable[str], identity: str, timestamp: int, body: bytes
) -> list[tuple[bytes, bytes]]:
    """Give the headers that sign a message, with each secret."""
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
