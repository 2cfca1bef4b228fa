"""The settings: one frozen Struct, read from the environment once. No other module reads the environment.

`python -m service settings` prints this Struct as the table of docs/configuration.md.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from service.setting_values import convert

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds `service`, `sql`, `migrations` and `roles`."""

SECRET_BYTES = 32
"""The shortest CURSOR_SECRET, the same as for HS256: RFC 7518, section 3.2."""

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5}|:\*)?/?", re.ASCII).fullmatch
"""Matches a value of the Origin header (RFC 6454, section 6.2), in lower case; a final slash is allowed."""

without_prepared_statements = re.compile(
    r"[?&](pgbouncer=true|(prepared_)?statement_cache_size=0)(&|$)", re.ASCII | re.IGNORECASE
).search
"""Matches the parameters with which Prisma and SQLAlchemy turn off prepared statements, for a pooler."""

LogLevel = Literal["debug", "info", "warning", "error"]
Deadline = Annotated[float, Meta(gt=0, le=60)]
Period = Annotated[float, Meta(gt=0, le=3600)]


class SettingsError(Exception):
    """A setting is missing or not valid. The message names it and never contains its value."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. The field `pool_min_size` is the variable `POOL_MIN_SIZE`. Times are in seconds."""

    database_url: Annotated[str, Meta(description="PostgreSQL connection URL")]
    jwt_secret: Annotated[
        str, Meta(description="HMAC secret that the issuer signs with: at least 32 bytes, 48 for HS384, 64 for HS512")
    ] = ""
    jwt_secret_previous: Annotated[str, Meta(description="secret accepted beside `JWT_SECRET` while it is changed")] = (
        ""
    )
    jwks_url: Annotated[str, Meta(description="URL of the issuer's key set; https, or http on loopback")] = ""
    jwks_file: Annotated[str, Meta(description="file with the issuer's key set")] = ""
    jwt_discovery_url: Annotated[
        str,
        Meta(description="the issuer's `/.well-known/openid-configuration`, instead of `JWKS_URL` and `JWT_ISSUER`"),
    ] = ""
    jwks_allow_http: Annotated[bool, Meta(description="allow http for these URLs on every host, inside a cluster")] = (
        False
    )
    jwks_refresh: Annotated[Period, Meta(description="time between two fetches of the key set")] = 300
    jwks_cooldown: Annotated[
        Period,
        Meta(description="shortest time between two fetches for unknown keys; their tokens wait up to 6 s, then 503"),
    ] = 5
    jwt_issuer: Annotated[str, Meta(description="required `iss`; any of several, separated by commas")] = ""
    jwt_audience: Annotated[str, Meta(description="required `aud`; any of several, separated by commas")] = ""
    jwt_required_claims: Annotated[
        str, Meta(description="further claims, such as `token_use=access,provider_id!=anonymous`")
    ] = ""
    jwt_user_claim: Annotated[str, Meta(min_length=1, description="claim with the user's id")] = "sub"
    jwt_user_namespace: Annotated[
        str, Meta(description="UUID of your own, for ids that are not UUIDs: users get version 5 UUIDs in it")
    ] = ""
    jwt_issuers: Annotated[
        str, Meta(description="further issuers: a JSON array of objects with the variables of each, see docs/tokens.md")
    ] = ""
    jwt_shared_users: Annotated[
        bool, Meta(description="the same id from two issuers without `JWT_USER_NAMESPACE` is one user")
    ] = False
    jwt_leeway: Annotated[float, Meta(ge=0, le=30, description="clock difference allowed in `exp` and `nbf`")] = 10
    token_cache_size: Annotated[
        int, Meta(ge=0, description="verified tokens kept in memory per process, at most 1 KB more than a token each")
    ] = 10_000
    max_token_bytes: Annotated[
        int, Meta(ge=1024, le=14336, description="largest token; larger ones get 431. Headers may have 16 KiB in all")
    ] = 8192
    cursor_secret: Annotated[
        str, Meta(description="key that signs cursors, at least 32 bytes; required without `JWT_SECRET`")
    ] = ""

    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on")] = 4000
    workers: Annotated[int, Meta(ge=1, le=64, description="number of processes")] = 1

    pool_min_size: Annotated[int, Meta(ge=1, le=1000, description="connections kept open per process")] = 5
    pool_max_size: Annotated[int, Meta(ge=1, le=1000, description="most connections per process")] = 20
    pool_user_share: Annotated[
        float,
        Meta(gt=0, le=1, description="share of the connections for one user, if others wait or for unbatched reads"),
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
        if self.cursor_secret and len(self.cursor_secret.encode()) < SECRET_BYTES:
            raise SettingsError(f"CURSOR_SECRET is shorter than {SECRET_BYTES} bytes")
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
        """Return the names of the settings that differ from their defaults."""
        fields = msgspec.structs.fields(self)
        return [field.name.upper() for field in fields if getattr(self, field.name) != field.default]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from `environment`. An empty variable counts as absent.

    Raises SettingsError, which names the variable, if one is missing or not valid.
    """
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        text = environment.get(name.upper(), "").strip()
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            raise SettingsError(f"{name.upper()} has quotation marks around its value: remove them")
        if text:
            try:
                values[name] = convert(kind, text)
            except ValueError as error:
                raise SettingsError(f"{name.upper()} is not valid: it is {error}") from None
    if "database_url" not in values:
        raise SettingsError("DATABASE_URL is missing")
    if without_prepared_statements(values["database_url"]):
        values.setdefault("prepared_statements", False)
    return Settings(**values)
