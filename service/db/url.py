"""DATABASE_URL in the forms that people paste, rewritten for each driver. Imports no driver, opens no connection.

What comes out is `postgresql://?` and libpq's parameters (PostgreSQL manual, 34.1.2), which both drivers read alike.
"""

import re
import ssl
from collections.abc import Callable
from urllib.parse import quote, unquote, urlencode

from service.settings import SettingsError

FORM = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://"
    r"(?:(?P<user>[^:@/?]*)(?::(?P<password>[^/?]*))?@)?"  # up to the last @: pasted passwords hold unescaped ones
    r"(?P<hosts>[^@/?]*)(?:/(?P<dbname>[^@?]*))?(?:\?(?P<query>[^@]*))?"  # an @ here: the password holds a / or a ?
)
HOST = re.compile(r"(?P<host>/.*|\[[^\]]*\]|[^:]*|[0-9A-Fa-f:.]*)(?::(?P<port>[^:]*))?")
"""A socket directory, an IPv6 address in brackets, a name, or an IPv6 address without them; then the port."""

BOTH = frozenset(
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
    "connection_limit pgbouncer pool_timeout schema socket_timeout sslaccept "  # Prisma
    "prepareThreshold supa uselibpqcompat workaround".split()  # JDBC, Supabase, node-postgres
)
"""Other clients' own settings, dropped. What is in no set is refused: it may be a typing error in sslmode."""

SSL_MODES = {mode: mode for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")} | {
    "true": "require",
    "1": "require",
    "no-verify": "require",  # node-postgres
    "false": "disable",
    "0": "disable",
}


def for_asyncpg(url: str) -> str:
    """The URL for asyncpg. Raises SettingsError, without the value."""
    parameters = _parameters(url)
    if "host" in parameters:  # asyncpg takes what follows a bare colon for the port
        hosts = parameters["host"].split(",")
        parameters["host"] = ",".join(f"[{host}]" if ":" in host and host[0] != "/" else host for host in hosts)
    return _url({name: value for name, value in parameters.items() if name in BOTH})


def for_psycopg(url: str) -> str:
    """The URL for psycopg, which gives a silent host up after 10 s. Raises SettingsError, without the value."""
    # psycopg takes the database's encoding for its own, and text for bytes where that is SQL_ASCII
    return _url({"connect_timeout": "10", "client_encoding": "utf8"} | _parameters(url))


def _url(parameters: dict[str, str]) -> str:
    return "postgresql://?" + urlencode(parameters, quote_via=quote)


def _parameters(url: str) -> dict[str, str]:
    form = FORM.fullmatch(url)
    if not form:
        raise SettingsError(
            "DATABASE_URL is not like postgresql://USER:PASSWORD@HOST:PORT/DATABASE (write / as %2F and ? as %3F)"
        )
    given = {name: unquote(form[name] or "") for name in ("user", "password", "dbname")}
    for name, _, value in (member.partition("=") for member in (form["query"] or "").split("&")):
        if name == "host" and "host" in given:  # SQLAlchemy repeats it
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
    if given.get("sslrootcert") == "system":  # libpq's word for the machine's authorities; asyncpg takes only a file
        paths = ssl.get_default_verify_paths()
        given["sslrootcert"] = paths.cafile or f"{paths.openssl_capath}/ca-certificates.crt"

    unknown = given.keys() - BOTH - LIBPQ_ONLY
    if unknown:
        raise SettingsError(f"DATABASE_URL has parameters that are not known: {', '.join(sorted(unknown))}")
    return given


def _hosts_and_ports(text: str, decode: Callable[[str], str]) -> tuple[list[str], list[str]]:
    hosts, ports = [], []
    for spec in text.split(","):
        place = HOST.fullmatch(spec)
        if not place or (text != spec and not place["host"]):
            raise SettingsError("DATABASE_URL has a host that cannot be read")
        hosts.append(decode(place["host"].strip("[]")))
        ports.append(place["port"] or "")
    return hosts, ports
