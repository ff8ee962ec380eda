"""The settings: read once from the environment, documented where they are declared."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from schemas.base import fields

PREFIX = "CLAIM_RECORDS_"
_UNPREFIXED = {"database_url"}
MEBIBYTE = 1_048_576
_URLS = {"database_url", "migrate_url"}
_POSTGRES = r"^postgres(ql)?://"
_HOSTS = r"^\s*[A-Za-z0-9_.:\[\]-]+(\s*,\s*[A-Za-z0-9_.:\[\]-]+)*\s*$"
_ORIGINS = r"^\s*https?://[A-Za-z0-9_.:\[\]-]+(\s*,\s*https?://[A-Za-z0-9_.:\[\]-]+)*\s*$"
# Up to the last @: a password may hold one that its owner forgot to encode.
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:@/?]*):.*@|(?P<key>password=)[^&]*")


def default_data_dir() -> str:
    """Give the directory for the embedded database (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "claim-records")


class SettingsError(Exception):
    """A setting in the environment is not valid."""


class Settings(Struct, frozen=True, kw_only=True):
    """What whoever runs the service decides."""

    database_url: Annotated[
        Annotated[str, Meta(pattern=_POSTGRES)] | None,
        Meta(description="A Postgres (15 to 18) to use; unset, the embedded one is started."),
    ] = None
    migrate_url: Annotated[
        Annotated[str, Meta(pattern=_POSTGRES)] | None,
        Meta(description="The same database for a role that may change the schema."),
    ] = None
    data_dir: Annotated[str, Meta(description="Where the embedded Postgres keeps its data.")] = (
        msgspec.field(default_factory=default_data_dir)
    )
    host: Annotated[str, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="The port; 0 takes a free one.")] = 8000
    workers: Annotated[int, Meta(ge=1, le=64, description="How many processes serve.")] = 1
    pool_size: Annotated[
        int, Meta(ge=1, le=200, description="Database connections for each process.")
    ] = 10
    statement_cache_size: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="Prepared statements for each connection; 0 behind pgbouncer.",
        ),
    ] = 200
    statement_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long one SQL statement may take.")
    ] = 5.0
    lock_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long a statement may wait for a lock.")
    ] = 2.0
    acquire_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long a request may wait for a connection.")
    ] = 2.0
    import_statement_seconds: Annotated[
        float,
        Meta(gt=0, le=86_400, description="How long one SQL statement of an import may take."),
    ] = 600.0
    body_bytes: Annotated[
        int, Meta(ge=1_024, le=64 * MEBIBYTE, description="The largest body, and import line.")
    ] = MEBIBYTE
    article_body_bytes: Annotated[
        int, Meta(ge=1_024, le=64 * MEBIBYTE, description="The largest body of an article.")
    ] = 4 * MEBIBYTE + 65_536
    body_idle_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long a body may pause between two bytes.")
    ] = 10.0
    head_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long the head of a request may take to come.")
    ] = 5.0
    silent_seconds: Annotated[
        float, Meta(gt=0, le=3_600, description="How long a connection may wait between requests.")
    ] = 15.0
    stall_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long an answer may wait to be read.")
    ] = 30.0
    rate_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000_000,
            description="Requests a minute for each key, or each address without one; the "
            "processes share it evenly. 0 is no limit.",
        ),
    ] = 6_000
    open_reads: Annotated[
        bool | None,
        Meta(
            description="Whether reading what is public needs no key; unset, only on a loopback "
            "address."
        ),
    ] = None
    allowed_hosts: Annotated[
        Annotated[str, Meta(pattern=_HOSTS)] | None,
        Meta(
            description="The names that the service goes by, separated by commas, each with a port "
            "or for all of them; besides `host` and those of loopback."
        ),
    ] = None
    cors_origins: Annotated[
        Annotated[str, Meta(pattern=_ORIGINS)] | None,
        Meta(
            description="The origins whose pages may ask, such as `https://desk.example`, "
            "separated by commas."
        ),
    ] = None
    feed_stall_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="How long committed changes may wait for their number in the change feed; "
            "after that the service says that it is not ready.",
        ),
    ] = 60.0
    webhook_networks: Annotated[
        str | None,
        Meta(
            description="Networks that webhooks may be sent to although they are private or "
            "special, such as `10.1.0.0/16,::1/128`, over plain HTTP too; unset, none."
        ),
    ] = None
    stop_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How long requests may finish at a stop.")
    ] = 10.0
    log_level: Annotated[
        str,
        Meta(pattern=r"^(debug|info|warning|error)\Z", description="debug, info, warning, error."),
    ] = "info"
    log_format: Annotated[
        str, Meta(pattern=r"^(text|json)\Z", description="`text` to read, `json` to collect.")
    ] = "text"


def reads_are_open(settings: Settings) -> bool:
    """Tell whether what is public may be read without a key."""
    if settings.open_reads is not None:
        return settings.open_reads
    try:
        return ip_address(settings.host).is_loopback
    except ValueError:
        return settings.host == "localhost"


def comma_separated(text: str | None) -> list[str]:
    """Read the items of a list with commas, without the spaces around them."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def networks(listed: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read a list of networks in CIDR notation."""
    try:
        return tuple(map(ip_network, comma_separated(listed)))
    except ValueError as error:
        raise SettingsError(f"{variable('webhook_networks')}={listed}: {error}.") from None


def variable(name: str) -> str:
    """Name the environment variable of a setting."""
    return name.upper() if name in _UNPREFIXED else PREFIX + name.upper()


def masked(url: str) -> str:
    """Hide the passwords of a database URL, and all of what is none."""
    if not re.match(_POSTGRES, url):
        return "***"
    return _PASSWORD.sub(
        lambda found: f"{found['key']}***" if found["key"] else f"{found['user']}:***@", url
    )


def shown(name: str, value: object) -> str:
    """Write a setting's value for people to read; "" where it is unset."""
    text = "" if value is None else str(value)
    return masked(text) if text and name in _URLS else text


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings, refusing values that are not valid and names that are not known."""
    known = {variable(field.name): field for field in fields(Settings)}
    unknown = sorted(k for k in environ if k.startswith(PREFIX) and k not in known)
    if unknown:
        raise SettingsError(
            f"{', '.join(unknown)} is no setting; `claim-records settings` lists them."
        )
    given: dict[str, Any] = {}
    for name, field in known.items():
        if environ.get(name):
            try:
                given[field.name] = msgspec.convert(environ[name], field.type, strict=False)
            except msgspec.ValidationError as error:
                told = shown(field.name, environ[name])
                raise SettingsError(f"{name}={told}: {error}.") from None
    networks(given.get("webhook_networks"))
    return Settings(**given)
