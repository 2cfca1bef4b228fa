"""The settings: one frozen Struct, read from the environment once. No other module reads the environment.

`python -m service settings` prints the table of the documentation, which is made from this Struct.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds `service`, `sql`, `migrations` and `roles`."""

SECRET_BYTES = 32
"""The shortest HS256 key: RFC 7518, section 3.2."""

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5}|:\*)?/?", re.ASCII).fullmatch
"""What browsers send as Origin, in lower case, with or without a final slash: RFC 6454, section 6.2."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

DURATION = re.compile(r"([0-9.]+) ?(ms|s|m)", re.ASCII).fullmatch
SECONDS = {"ms": 0.001, "s": 1, "m": 60}

without_prepared_statements = re.compile(
    r"[?&](pgbouncer=true|(prepared_)?statement_cache_size=0)(&|$)", re.ASCII | re.IGNORECASE
).search
"""Matches a DATABASE_URL of another client (Prisma, SQLAlchemy) that names a pooler without prepared statements."""

LogLevel = Literal["debug", "info", "warning", "error"]
Deadline = Annotated[float, Meta(gt=0, le=60)]
Period = Annotated[float, Meta(gt=0, le=3600)]


class SettingsError(Exception):
    """A setting is missing or bad. The message names it and never shows its value."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting. The field `pool_min_size` is the variable `POOL_MIN_SIZE`. Times are in seconds."""

    database_url: Annotated[str, Meta(description="PostgreSQL connection URL")]
    jwt_secret: Annotated[str, Meta(description="HS256 key, at least 32 bytes; or `JWKS_URL`, or `JWKS_FILE`")] = ""
    jwks_url: Annotated[str, Meta(description="URL of the issuer's key set; https, or http on loopback")] = ""
    jwks_file: Annotated[str, Meta(description="file with the issuer's key set")] = ""
    jwks_refresh: Annotated[Period, Meta(description="time between two fetches of the key set")] = 300
    jwks_cooldown: Annotated[
        Period,
        Meta(description="shortest time between two fetches for unknown keys; their tokens wait up to 6 s, then 503"),
    ] = 5
    jwt_issuer: Annotated[str, Meta(description="required `iss`")] = ""
    jwt_audience: Annotated[str, Meta(description="required `aud`")] = ""
    jwt_leeway: Annotated[float, Meta(ge=0, le=30, description="clock difference allowed in `exp` and `nbf`")] = 10
    token_cache_size: Annotated[
        int, Meta(ge=0, description="verified tokens kept in memory per process, at most 9 KB each")
    ] = 10_000

    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on")] = 4000
    workers: Annotated[int, Meta(ge=1, le=64, description="number of processes")] = 1

    pool_min_size: Annotated[int, Meta(ge=1, le=1000, description="connections kept open per process")] = 5
    pool_max_size: Annotated[int, Meta(ge=1, le=1000, description="most connections per process")] = 20
    pool_user_share: Annotated[
        float,
        Meta(gt=0, le=1, description="share of the connections that one user may hold while other users wait for one"),
    ] = 0.25
    acquire_timeout: Annotated[Deadline, Meta(description="longest wait for a connection; then 503")] = 1
    statement_timeout: Annotated[Deadline, Meta(description="longest wait for a statement's response; then 503")] = 2
    connect_timeout: Annotated[Deadline, Meta(description="longest wait for a new connection to open")] = 5
    probe_interval: Annotated[Period, Meta(description="time between two checks of the database for /readyz")] = 1
    prepared_statements: Annotated[
        bool, Meta(description="`false` behind a pooler that does not support them (PgBouncer before 1.21)")
    ] = True
    row_level_security: Annotated[bool, Meta(description="run each statement through its function in `roles/`")] = False
    provision_users: Annotated[bool, Meta(description="create the row in `users` with a user's first task")] = True

    max_body_bytes: Annotated[int, Meta(ge=1024, description="largest request body; larger ones get 413")] = 1_048_576
    max_body_bytes_total: Annotated[
        int, Meta(ge=1024, description="request bodies in memory per process; past it the largest get 503")
    ] = 33_554_432
    max_waiting: Annotated[
        int, Meta(ge=1, description="requests that may wait for a connection; further ones get 503")
    ] = 1000
    max_connections: Annotated[int, Meta(ge=1, description="client connections per process; further ones get 503")] = (
        10_000
    )
    keep_alive_timeout: Annotated[
        Period, Meta(description="time without a request after which a client's connection is closed")
    ] = 75
    shutdown_delay: Annotated[
        float,
        Meta(ge=0, le=300, description="time after SIGTERM in which /readyz is 503 and requests are still served"),
    ] = 2
    shutdown_timeout: Annotated[Period, Meta(description="longest wait for running requests after that")] = 10

    log_level: Annotated[
        LogLevel, Meta(description="`debug`, `info` (every request but probes), `warning` (failures) or `error`")
    ] = "info"
    cors_origins: Annotated[
        str,
        Meta(
            description="origins of pages that may call, such as `https://app.example.com`, separated by commas; "
            "`http://localhost:*` is every port, `*` every origin"
        ),
    ] = ""
    cors_private_network: Annotated[
        bool, Meta(description="let pages with a public address call the service at a private address")
    ] = False
    server_timing: Annotated[bool, Meta(description="send `Server-Timing`: auth, wait, db")] = False
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="port of the metrics; each further worker has the next port; 0: off")
    ] = 0

    def __repr__(self) -> str:
        return "Settings(...)"  # values may be secret, and reprs reach logs

    def __post_init__(self) -> None:
        sources = [name for name in ("jwt_secret", "jwks_url", "jwks_file") if getattr(self, name)]
        if len(sources) != 1:
            raise SettingsError("set exactly one of JWT_SECRET, JWKS_URL and JWKS_FILE")
        if self.jwt_secret and len(self.jwt_secret.encode()) < SECRET_BYTES:
            raise SettingsError(f"JWT_SECRET is shorter than {SECRET_BYTES} bytes")
        if self.jwks_url and not _safe_to_fetch(self.jwks_url):
            raise SettingsError("JWKS_URL is not an https URL (http is for loopback only)")
        if "/" in self.host:
            raise SettingsError("HOST is a URL or a network: it is the address to listen on, such as 0.0.0.0")
        if self.pool_min_size > self.pool_max_size:
            raise SettingsError("POOL_MIN_SIZE is larger than POOL_MAX_SIZE")
        ports = range(self.metrics_port, self.metrics_port + self.workers)
        if self.metrics_port and (self.port in ports or ports[-1] > 65535):
            raise SettingsError("METRICS_PORT is too close to PORT, or to 65535: each of WORKERS needs a port")
        if self.cors_origins not in ("", "*") and not all(map(ORIGIN, map(str.strip, self.cors_origins.split(",")))):
            raise SettingsError(
                "CORS_ORIGINS is not a list of origins like https://app.example.com (no path), or * alone"
            )

    def changed(self) -> list[str]:
        """The names of the settings that differ from their defaults."""
        fields = msgspec.structs.fields(self)
        return [field.name.upper() for field in fields if getattr(self, field.name) != field.default]


def _safe_to_fetch(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # brackets without an address, a port that is no number
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK))


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings in `environment`; an empty variable counts as absent.

    Raises SettingsError with the variable's name when one is missing or bad.
    """
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        text = environment.get(name.upper(), "").strip()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            raise SettingsError(f"{name.upper()} has quotation marks around its value: remove them")
        if text:
            values[name] = _converted(name, kind, text)
    if "database_url" not in values:
        raise SettingsError("DATABASE_URL is missing")
    if without_prepared_statements(values["database_url"]):
        values.setdefault("prepared_statements", False)
    return Settings(**values)


def _converted(name: str, kind: Any, text: str) -> Any:
    base = get_args(kind)[0]
    if base is not str:
        text = text.lower()
    try:
        if base is float and (duration := DURATION(text)):
            return msgspec.convert(float(duration[1]) * SECONDS[duration[2]], kind)
        return msgspec.convert(text, kind, strict=False)
    except (msgspec.ValidationError, ValueError):
        raise SettingsError(f"{name.upper()} is not valid: it is {_rule(kind)}") from None


def _rule(kind: Any) -> str:
    base, *metas = get_args(kind)
    bounds = {key: value for meta in metas for key in ("ge", "gt", "le") if (value := getattr(meta, key)) is not None}
    if base is bool:
        return "true or false"
    if base is float:
        least = f"at least {bounds['ge']}" if "ge" in bounds else "more than 0"
        return f"a number, {least} and at most {bounds['le']}; times are in seconds, or have a unit, such as 1500ms"
    if base is int:
        return f"a whole number from {bounds['ge']}" + (f" to {bounds['le']}" if "le" in bounds else " up")
    return "one of " + ", ".join(get_args(base))
