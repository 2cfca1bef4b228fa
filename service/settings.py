"""The settings: one frozen Struct, read from the environment once. No other module reads the environment.

The README's settings table is made from this Struct (`python -m service settings`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds `service`, `sql`, `migrations` and `roles`."""

SECRET_BYTES = 32
"""The least length of an HS256 key: RFC 7518, section 3.2."""

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?", re.ASCII).fullmatch
"""What browsers send as Origin, in lower case, and a slash that people add: RFC 6454, section 6.2."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")

LogLevel = Literal["debug", "info", "warning", "error"]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class SettingsError(Exception):
    """A setting is missing or bad. The message names it and never shows its value."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting. The field `pool_min_size` is the variable `POOL_MIN_SIZE`. Times are in seconds."""

    database_url: Annotated[str, Meta(description="PostgreSQL, in any of the forms that people paste")]
    jwt_secret: Annotated[str, Meta(description="HS256 key, at least 32 bytes")] = ""
    jwks_url: Annotated[str, Meta(description="the issuer's key set, https (http on loopback only)")] = ""
    jwks_file: Annotated[str, Meta(description="a key set on disk, in place of `JWKS_URL`")] = ""
    jwks_refresh: Annotated[Seconds, Meta(description="how often the key set is fetched anew")] = 300
    jwks_cooldown: Annotated[
        Seconds,
        Meta(description="least time between fetches for unknown keys; their tokens wait, 6 s at most, then 503"),
    ] = 5
    jwt_issuer: Annotated[str, Meta(description="required `iss`")] = ""
    jwt_audience: Annotated[str, Meta(description="required `aud`")] = ""
    jwt_leeway: Annotated[float, Meta(ge=0, le=30, description="clock skew allowed in `exp` and `nbf`")] = 10
    token_cache_size: Annotated[
        int, Meta(ge=0, description="verified tokens remembered per process, 9 KB each at most")
    ] = 10_000

    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on")] = 4000
    workers: Annotated[int, Meta(ge=1, le=64, description="processes")] = 1

    pool_min_size: Annotated[int, Meta(ge=1, le=1000, description="connections kept open per process")] = 5
    pool_max_size: Annotated[int, Meta(ge=1, le=1000, description="connections at most per process")] = 20
    acquire_timeout: Annotated[Seconds, Meta(description="wait for a connection at most")] = 1
    statement_timeout: Annotated[Seconds, Meta(description="wait for a statement at most")] = 2
    connect_timeout: Annotated[Seconds, Meta(description="wait for a new connection to open at most")] = 5
    probe_interval: Annotated[Seconds, Meta(description="how often readiness asks the database")] = 1
    prepared_statements: Annotated[
        bool, Meta(description="`false` behind a pooler without them (PgBouncer before 1.21)")
    ] = True
    row_level_security: Annotated[bool, Meta(description="run each statement through its function of `roles/`")] = False
    provision_users: Annotated[bool, Meta(description="a user's first task makes the row in `users`")] = True

    max_body_bytes: Annotated[int, Meta(ge=1024, description="larger bodies are 413")] = 1_048_576
    max_waiting: Annotated[int, Meta(ge=1, description="requests waiting for a connection; more are 503")] = 1000
    max_connections: Annotated[int, Meta(ge=1, description="client connections per process; more are 503")] = 10_000
    shutdown_delay: Annotated[
        float, Meta(ge=0, le=300, description="after SIGTERM, serve on while /readyz says 503")
    ] = 2
    shutdown_timeout: Annotated[Seconds, Meta(description="then wait for requests under way at most")] = 10

    log_level: Annotated[LogLevel, Meta(description="`info` logs every request, `warning` only failures")] = "info"
    cors_origins: Annotated[
        str, Meta(description="allowed origins like `https://app.example.com`, comma-separated")
    ] = ""
    server_timing: Annotated[bool, Meta(description="answer with `Server-Timing`: auth, wait, db")] = False
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="Prometheus on this port, each further worker on the next; 0 is off")
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
            raise SettingsError("JWKS_URL is not an https address (http is for loopback only)")
        if self.pool_min_size > self.pool_max_size:
            raise SettingsError("POOL_MIN_SIZE is larger than POOL_MAX_SIZE")
        ports = range(self.metrics_port, self.metrics_port + self.workers)
        if self.metrics_port and (self.port in ports or ports[-1] > 65535):
            raise SettingsError("METRICS_PORT is too close to PORT, or to 65535, for a port to each of WORKERS")
        if self.cors_origins and not all(ORIGIN(origin.strip()) for origin in self.cors_origins.split(",")):
            raise SettingsError(
                "CORS_ORIGINS is not a list of origins like https://app.example.com, without a path or *"
            )


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
    values = {}
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        text = environment.get(name.upper(), "").strip()
        if not text:
            continue
        try:
            values[name] = msgspec.convert(text.lower() if bool in get_args(kind) else text, kind, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{name.upper()} is not valid: {_reason(error)}") from None
    if "database_url" not in values:
        raise SettingsError("DATABASE_URL is missing")
    return Settings(**values)


def _reason(error: msgspec.ValidationError) -> str:
    reason = str(error)
    if reason.startswith("Invalid enum value"):  # which it quotes
        return "not one of its values"
    return reason.replace("Expected `bool`, got `str`", "it is true or false")


def settings_table() -> str:
    """The README's table of settings, in Markdown."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for field in msgspec.structs.fields(Settings):
        meta = [m for m in get_args(field.type)[1:] if isinstance(m, Meta) and m.description][-1]
        default = "required" if field.required else f"`{field.default}`".lower() if field.default != "" else "-"
        rows.append(f"| `{field.name.upper()}` | {default} | {meta.description} |")
    return "\n".join(rows)
