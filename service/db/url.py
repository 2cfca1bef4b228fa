"""Parses DATABASE_URL in the forms that hosts and clients use, and rewrites it for each driver. Imports no driver.

The result is `postgresql://?` and libpq's parameters (PostgreSQL manual, 34.1.2), which both drivers read in the same
way.
"""

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

from service.settings import SettingsError

URL_PATTERN = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://"
    r"(?:(?P<user>[^:@/?]*)(?::(?P<password>[^/?]*))?@)?"  # up to the last @: a password may have one, unescaped
    r"(?P<hosts>[^@/?]*)(?:/(?P<dbname>[^@?]*))?(?:\?(?P<query>[^@]*))?"  # no @: else the password has a / or a ?
)
HOST = re.compile(r"(?P<host>/.*|\[[^\]]*\]|[^:]*|[0-9A-Fa-f:.]*)(?::(?P<port>[^:]*))?")
"""A socket directory, an IPv6 address in brackets, a name, or an IPv6 address without brackets; then the port."""

COMMON_PARAMETERS = frozenset(
    "user password passfile service host port dbname options application_name target_session_attrs krbsrvname gsslib "
    "sslmode sslnegotiation sslcert sslkey sslpassword sslrootcert sslcrl "
    "ssl_min_protocol_version ssl_max_protocol_version".split()
)
"""The parameters that both drivers know."""

LIBPQ_ONLY = frozenset(
    "channel_binding client_encoding connect_timeout fallback_application_name gssencmode keepalives keepalives_count "
    "keepalives_idle keepalives_interval load_balance_hosts sslcompression sslsni tcp_user_timeout".split()
)
"""asyncpg would send these to the server, which refuses them. It has no channel binding: use sslmode=verify-full."""

OTHER_CLIENTS = frozenset(
    "async_fallback prepared_statement_cache_size statement_cache_size "  # SQLAlchemy
    "connection_limit pgbouncer pool_timeout socket_timeout sslaccept "  # Prisma
    "prepareThreshold supa uselibpqcompat workaround".split()  # JDBC, Supabase, node-postgres
)
"""Parameters of other clients. They are dropped. Any other unknown name is refused: it may be a misspelt sslmode.

`pgbouncer=true` and `statement_cache_size=0` turn PREPARED_STATEMENTS off, in settings.py.
"""

FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")

SSL_MODES = {mode: mode for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")} | {
    "true": "require",
    "1": "require",
    "no-verify": "require",  # node-postgres
    "false": "disable",
    "0": "disable",
}


def for_asyncpg(url: str) -> str:
    """The URL for asyncpg. Raises SettingsError, without the value."""
    parameters = {"application_name": "task-service"} | _parameters(url)
    if "host" in parameters:  # asyncpg reads the text after a colon as the port, unless brackets are around the host
        hosts = parameters["host"].split(",")
        parameters["host"] = ",".join(f"[{host}]" if ":" in host and host[0] != "/" else host for host in hosts)
    return _url({name: value for name, value in parameters.items() if name in COMMON_PARAMETERS})


def for_psycopg(url: str) -> str:
    """The URL for psycopg, with a connect timeout of 10 s. Raises SettingsError, without the value."""
    # By default psycopg uses the database's encoding, and returns text as bytes where that is SQL_ASCII.
    return _url({"connect_timeout": "10", "client_encoding": "utf8"} | _parameters(url))


def location(url: str) -> str:
    """The host and the database that the URL names, for log lines: `db.example:5432/tasks`. Never the password."""
    parameters = _parameters(url)
    hosts, ports = parameters.get("host", "localhost").split(","), parameters.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    addresses = [f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=True)]
    return f"{','.join(addresses)}/{parameters.get('dbname', '')}"


def _url(parameters: dict[str, str]) -> str:
    return "postgresql://?" + urlencode(parameters, quote_via=quote)


def _parameters(url: str) -> dict[str, str]:
    form = URL_PATTERN.fullmatch(url)
    if not form:
        raise SettingsError(_form_error(url))
    given = {name: unquote(form[name] or "") for name in ("user", "password", "dbname")}
    for name, _, value in (member.partition("=") for member in (form["query"] or "").split("&")):
        if name == "host" and "host" in given:  # SQLAlchemy repeats it for each host
            given["host"] += "," + unquote(value)
        else:
            given["dbname" if name == "database" else name] = unquote(value)
    given = {name: value for name, value in given.items() if value and name not in OTHER_CLIENTS}

    hosts, ports = _hosts_and_ports(form["hosts"], unquote)
    if "host" in given:  # the query string wins, as in libpq
        hosts, queried_ports = _hosts_and_ports(given.pop("host"), str)
        ports = queried_ports if any(queried_ports) or not any(ports) else ports
    if "port" in given:
        ports = given.pop("port").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    numbers = [int(port or 5432) for port in ports if re.fullmatch(r"[0-9]{0,5}", port)]
    if len(numbers) != len(hosts) or not 0 < min(numbers) <= max(numbers) < 65536:
        raise SettingsError("DATABASE_URL needs a port for each host, or one for all, from 1 to 65535")
    if any(hosts):
        given["host"] = ",".join(hosts)
    if any(ports):
        given["port"] = ",".join(map(str, numbers))
    if len(hosts) > 1:
        given.setdefault("target_session_attrs", "read-write")

    tls = given.pop("ssl", "")
    if mode := given.get("sslmode", tls):
        if mode not in SSL_MODES:
            raise SettingsError("DATABASE_URL has an sslmode that does not exist")
        given["sslmode"] = SSL_MODES[mode]
    if given.get("sslrootcert") == "system":  # in libpq: the machine's certificates; asyncpg knows only files
        paths = ssl.get_default_verify_paths()
        given["sslrootcert"] = paths.cafile or f"{paths.openssl_capath}/ca-certificates.crt"

    if given.pop("schema", "public") != "public":
        raise SettingsError(
            "DATABASE_URL has a schema, which is not applied: write options=-c%20search_path%3DNAME instead, or set "
            "the search_path of the role (alter role ... set search_path = ...)"
        )
    for name in FILES:
        if name in given and not Path(given[name]).is_file():
            raise SettingsError(f"DATABASE_URL names a file that does not exist: {name}={given[name]}")

    unknown = given.keys() - COMMON_PARAMETERS - LIBPQ_ONLY
    if unknown:
        raise SettingsError(f"DATABASE_URL has unknown parameters: {', '.join(sorted(unknown))}")
    return given


def _form_error(url: str) -> str:
    if url.startswith("jdbc:"):
        return "DATABASE_URL is a JDBC URL: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    scheme, separator, _ = url.partition("://")
    if separator and re.fullmatch(r"[a-z0-9+]{1,20}", scheme) and not scheme.startswith("postgres"):
        return f"DATABASE_URL is for {scheme}: this service needs PostgreSQL, postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    return "DATABASE_URL is not like postgresql://USER:PASSWORD@HOST:PORT/DATABASE (write / as %2F and ? as %3F)"


def _hosts_and_ports(text: str, decode: Callable[[str], str]) -> tuple[list[str], list[str]]:
    hosts, ports = [], []
    for spec in text.split(","):
        match = HOST.fullmatch(spec)
        if not match or (text != spec and not match["host"]):
            raise SettingsError("DATABASE_URL has a host that cannot be read")
        hosts.append(decode(match["host"].strip("[]")))
        ports.append(match["port"] or "")
    return hosts, ports
