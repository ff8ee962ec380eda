"""The settings: declared with their descriptions, and read once from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from schemas.shapes import fields

PREFIX = "CLAIM_RECORDS_"
_UNPREFIXED = {"database_url"}
MEBIBYTE = 1_048_576
_URLS = {"database_url", "migrate_url"}
_POSTGRES = r"^postgres(ql)?://"
_HOSTS = r"^\s*[A-Za-z0-9_.:\[\]-]+(\s*,\s*[A-Za-z0-9_.:\[\]-]+)*\s*$"
_ORIGINS = r"^\s*https?://[A-Za-z0-9_.:\[\]-]+(\s*,\s*https?://[A-Za-z0-9_.:\[\]-]+)*\s*$"
# Up to the last @: a password may contain one that its owner did not encode.
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^:@/?]*):.*@|(?P<key>password=)[^&]*")


def default_data_dir() -> str:
    """Give the default data directory (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(base) / "claim-records")


class SettingsError(Exception):
    """A setting in the environment is not valid."""


class Settings(Struct, frozen=True, kw_only=True):
    """What an operator can decide about a service."""

    database_url: Annotated[
        Annotated[str, Meta(pattern=_POSTGRES)] | None,
        Meta(
            description="The URL of the Postgres (15 to 18) to use. If it is unset, the service "
            "starts an embedded one."
        ),
    ] = None
    migrate_url: Annotated[
        Annotated[str, Meta(pattern=_POSTGRES)] | None,
        Meta(
            description="The URL of the same database for the role that may change the schema. If "
            "it is unset, migrations run as the role of `DATABASE_URL`."
        ),
    ] = None
    data_dir: Annotated[
        str, Meta(description="The directory in which the embedded Postgres keeps its data.")
    ] = msgspec.field(default_factory=default_data_dir)
    host: Annotated[str, Meta(description="The address that the service listens on.")] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0, le=65_535, description="The port that the service listens on; 0 takes a free one."
        ),
    ] = 8000
    workers: Annotated[int, Meta(ge=1, le=64, description="How many processes serve requests.")] = 1
    pool_size: Annotated[
        int, Meta(ge=1, le=200, description="How many database connections each process may open.")
    ] = 10
    caller_connections: Annotated[
        Annotated[int, Meta(ge=1, le=200)] | None,
        Meta(
            description="How many database connections of each process one key may use at once. "
            "All callers without a key together may use as many as one key. If it is unset, it is "
            "half of `CLAIM_RECORDS_POOL_SIZE`."
        ),
    ] = None
    statement_cache_size: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="How many prepared statements each connection keeps. Set it to 0 behind "
            "pgbouncer.",
        ),
    ] = 200
    statement_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How many seconds one SQL statement may take.")
    ] = 5.0
    lock_seconds: Annotated[
        float, Meta(gt=0, le=600, description="How many seconds a statement may wait for a lock.")
    ] = 2.0
    acquire_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="How many seconds a request may wait for a database connection.",
        ),
    ] = 2.0
    import_statement_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="How many seconds a long SQL statement may take: one of an import, or one "
            "that hides an article with all claims and denials in it. The service gives it up "
            "earlier if Postgres does not work on it any more.",
        ),
    ] = 600.0
    body_bytes: Annotated[
        int,
        Meta(
            ge=1_024,
            le=64 * MEBIBYTE,
            description="The largest request body, and the largest line of an import, in bytes.",
        ),
    ] = MEBIBYTE
    article_body_bytes: Annotated[
        int,
        Meta(
            ge=1_024,
            le=64 * MEBIBYTE,
            description="The largest request body with an article, in bytes.",
        ),
    ] = 4 * MEBIBYTE + 65_536
    body_idle_seconds: Annotated[
        float,
        Meta(
            gt=0, le=600, description="How many seconds a client may pause while it sends a body."
        ),
    ] = 10.0
    head_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="How many seconds a client may take to send the head of a request.",
        ),
    ] = 5.0
    silent_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=3_600,
            description="How many seconds a connection may stay open without a request.",
        ),
    ] = 15.0
    stall_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="How many seconds a client may stop reading an answer before it is cut "
            "off.",
        ),
    ] = 30.0
    rate_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000_000,
            description="How many requests a minute each key may send, and each address without a "
            "key. Each process allows an equal share of this number. 0 means no limit.",
        ),
    ] = 6_000
    open_reads: Annotated[
        bool | None,
        Meta(
            description="Whether public records can be read without a key. If it is unset, they "
            "can if the service listens on a loopback address."
        ),
    ] = None
    allowed_hosts: Annotated[
        Annotated[str, Meta(pattern=_HOSTS)] | None,
        Meta(
            description="The host names under which the service answers, separated by commas, "
            "besides `CLAIM_RECORDS_HOST` and the names of loopback. A name without a port counts "
            "for every port."
        ),
    ] = None
    trusted_proxies: Annotated[
        str | None,
        Meta(
            description="The networks of the proxies in front of the service, such as "
            "`10.1.0.0/16,127.0.0.1`. If a request comes from one of them, `Forwarded` or "
            "`X-Forwarded-For` tells the address of the client, and `Forwarded` or "
            "`X-Forwarded-Proto` its scheme. If it is unset, the service ignores these headers."
        ),
    ] = None
    cors_origins: Annotated[
        Annotated[str, Meta(pattern=_ORIGINS)] | None,
        Meta(
            description="The origins whose web pages may call the service, such as "
            "`https://desk.example`, separated by commas."
        ),
    ] = None
    feed_stall_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="How many seconds committed changes may wait for their number in the "
            "change feed. After that, the service reports that it is not ready.",
        ),
    ] = 60.0
    webhook_networks: Annotated[
        str | None,
        Meta(
            description="The private or special networks that webhooks may be sent to, also over "
            "plain HTTP, such as `10.1.0.0/16,::1/128`. If it is unset, there are none, or only "
            "loopback if the service listens on a loopback address and neither "
            "`CLAIM_RECORDS_ALLOWED_HOSTS` nor `CLAIM_RECORDS_TRUSTED_PROXIES` is set."
        ),
    ] = None
    drain_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=600,
            description="How many seconds the service still takes new connections after it was "
            "told to stop (SIGTERM). Meanwhile it reports that it is not ready, so that a load "
            "balancer sends requests to another instance.",
        ),
    ] = 2.0
    stop_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="How many seconds running requests may take to finish when the service "
            "stops.",
        ),
    ] = 10.0
    audit_days: Annotated[
        Annotated[int, Meta(ge=30, le=36_500)] | None,
        Meta(
            description="After how many days an event is deleted from the audit log. If it is "
            "unset, no event is deleted."
        ),
    ] = None
    idempotency_hours: Annotated[
        int,
        Meta(
            ge=48,
            le=8_760,
            description="How many hours the answer to a request with an `Idempotency-Key` is kept.",
        ),
    ] = 48
    log_level: Annotated[
        str,
        Meta(
            pattern=r"^(debug|info|warning|error)\Z",
            description="The lowest level that is logged: `debug`, `info`, `warning` or `error`.",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Meta(
            pattern=r"^(text|json)\Z",
            description="The format of the log: `text` for people, `json` for log collectors.",
        ),
    ] = "text"


def reads_are_open(settings: Settings) -> bool:
    """Tell whether public records may be read without a key."""
    if settings.open_reads is not None:
        return settings.open_reads
    return listens_on_loopback(settings)


def listens_on_loopback(settings: Settings) -> bool:
    """Tell whether only this machine can connect to the service."""
    try:
        return ip_address(settings.host).is_loopback
    except ValueError:
        return settings.host == "localhost"


def comma_separated(text: str | None) -> list[str]:
    """Read a list whose items are separated by commas, without the spaces around them."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def networks(name: str, listed: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read a setting that lists networks in CIDR notation."""
    try:
        return tuple(map(ip_network, comma_separated(listed)))
    except ValueError as error:
        raise SettingsError(f"{variable(name)}={listed}: {error}.") from None


def variable(name: str) -> str:
    """Name the environment variable of a setting."""
    return name.upper() if name in _UNPREFIXED else PREFIX + name.upper()


def masked(url: str) -> str:
    """Hide the password in a database URL; hide the whole text if it is no such URL."""
    if not re.match(_POSTGRES, url):
        return "***"
    return _PASSWORD.sub(
        lambda match: f"{match['key']}***" if match["key"] else f"{match['user']}:***@", url
    )


def shown(name: str, value: object) -> str:
    """Write a setting's value for people, without passwords; "" if it is unset."""
    text = "" if value is None else str(value)
    return masked(text) if text and name in _URLS else text


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; refuse values that are not valid, and unknown names."""
    known = {variable(field.name): field for field in fields(Settings)}
    unknown = sorted(k for k in environ if k.startswith(PREFIX) and k not in known)
    if unknown:
        raise SettingsError(
            f"{', '.join(unknown)} is no setting. `claim-records settings` lists all settings."
        )
    given: dict[str, Any] = {}
    for name, field in known.items():
        if environ.get(name):
            try:
                given[field.name] = msgspec.convert(environ[name], field.type, strict=False)
            except msgspec.ValidationError as error:
                value = shown(field.name, environ[name])
                raise SettingsError(f"{name}={value}: {error}.") from None
    for name in ("trusted_proxies", "webhook_networks"):
        networks(name, given.get(name))
    return Settings(**given)
