"""DATABASE_URL: each form, tried with both drivers; and URLs that are refused without being shown."""

import asyncio
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import create_server
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

import asyncpg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from service.db.driver import open_connection
from service.db.url import LIBPQ_ONLY, OTHER_CLIENTS, for_asyncpg, for_psycopg, location
from service.settings import SettingsError, read_settings
from tests.proxy import tls_context
from tests.serving import SECRET, serving, until

if TYPE_CHECKING:
    from tests.conftest import Postgres

ASYNCPG_DEFAULTS = {"application_name": "task-service"}
PSYCOPG_DEFAULTS = {"connect_timeout": "10", "client_encoding": "utf8"}


@pytest.fixture(scope="session")
def parts(postgres: "Postgres") -> dict[str, str]:
    """The test server's user, host and port, of which the forms are made."""
    given = conninfo_to_dict(for_psycopg(postgres.url("postgres")))
    user, password, host, port = (
        quote(str(given.get(name, "")), safe="") for name in ("user", "password", "host", "port")
    )
    return {"user": f"{user}:{password}", "host": host, "port": port or "5432"}


async def seen_by_both(url: str, sql: str) -> tuple[Any, Any]:
    """What asyncpg and what psycopg get for `sql`."""
    connection = await asyncpg.connect(for_asyncpg(url))
    try:
        by_asyncpg = await connection.fetchval(sql)
    finally:
        await connection.close()
    with psycopg.connect(for_psycopg(url)) as other:
        (by_psycopg,) = other.execute(sql.encode()).fetchone() or ()
    return by_asyncpg, by_psycopg


def parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(url.removeprefix("postgresql://?"), strict_parsing=True))


FORMS = [
    "postgres://{user}@{host}:{port}/postgres",
    "postgresql://{user}@{host}:{port}/postgres",
    "postgresql+asyncpg://{user}@{host}:{port}/postgres",
    "postgresql+psycopg://{user}@{host}:{port}/postgres",
    "postgresql+psycopg2://{user}@{host}:{port}/postgres",
    "postgresql://{user}@{host}:{port}/postgres?sslmode=prefer",
    "postgresql://{user}@{host}:{port}/postgres?ssl=prefer",
    "postgresql://{user}@/postgres?host={host}&port={port}",
    "postgresql://{user}@?host={host}&port={port}&database=postgres",
    "postgresql://{user}@{host}:{port}/absent?dbname=postgres",
    "postgresql://{user}@127.0.0.1:{port}/postgres?host={host}",
    "postgresql://{user}@127.0.0.1:1,{host}:{port}/postgres",
    "postgresql://{user}@/postgres?host=127.0.0.1,{host}&port=1,{port}",
    "postgresql://{user}@/postgres?host=127.0.0.1:1&host={host}&port=1,{port}&target_session_attrs=any",
]


@pytest.mark.parametrize("form", FORMS)
async def test_database_url_connects(parts: dict[str, str], form: str) -> None:
    assert await seen_by_both(form.format(**parts), "select current_database()") == ("postgres", "postgres")


def test_database_url_sets_the_application_name_of_the_service(database: str, rows: Callable[..., list[Any]]) -> None:
    names = "select distinct application_name from pg_stat_activity where datname = current_database()"
    for query, name in (("", "task-service"), ("application_name=shop", "shop")):
        with serving(database_url=f"{database}{'&' if '?' in database else '?'}{query}") as api:
            api.fill()
            assert (name,) in rows(names)


def test_database_url_with_the_default_schema_is_accepted() -> None:
    assert "schema" not in parameters(for_asyncpg("postgresql://u@h/d?schema=public"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@db.example/tasks", "db.example/tasks"),
        ("postgresql://u:secret@a,b:5433/tasks", "a:5432,b:5433/tasks"),
        ("postgresql://u:secret@/tasks?host=/run/postgresql&port=5433", "/run/postgresql:5433/tasks"),
        ("postgresql://u:secret@", "localhost/"),
    ],
)
def test_location_has_the_host_and_the_database_alone(url: str, shown: str) -> None:
    assert location(url) == shown


async def test_database_url_keeps_server_settings(parts: dict[str, str]) -> None:
    url = "postgresql://{user}@{host}:{port}/postgres?application_name=a+b&options=-c%20work_mem%3D1234kB".format(
        **parts
    )

    assert await seen_by_both(url, "select current_setting('application_name')") == ("a+b", "a+b")
    assert await seen_by_both(url, "select current_setting('work_mem')") == ("1234kB", "1234kB")


async def test_database_url_drops_parameters_that_a_driver_does_not_know(parts: dict[str, str]) -> None:
    values = {
        "channel_binding": "prefer",
        "gssencmode": "disable",
        "client_encoding": "utf8",
        "load_balance_hosts": "random",
    }
    query = "&".join(f"{name}={values.get(name, '1')}" for name in sorted(LIBPQ_ONLY | OTHER_CLIENTS))
    url = "postgresql://{user}@{host}:{port}/postgres?{query}".format(**parts, query=query)

    assert await seen_by_both(url, "select 1") == (1, 1)


@pytest.fixture
def folder_with_spaces(parts: dict[str, str]) -> Iterator[str]:
    """A folder in which the test server's socket is, quoted."""
    if not parts["host"].startswith("%2F"):
        pytest.skip("this server listens on no socket that the tests can reach")
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path ends at 107 bytes
        link = Path(folder, "two words")
        link.symlink_to(unquote(parts["host"]))
        yield quote(str(link), safe="")


@pytest.mark.parametrize(
    "form", ["postgresql://{user}@/postgres?host={host}&port={port}", "postgresql://{user}@{host}:{port}/postgres"]
)
async def test_database_url_takes_a_socket_folder_with_spaces(
    parts: dict[str, str], folder_with_spaces: str, form: str
) -> None:
    assert await seen_by_both(form.format(**parts | {"host": folder_with_spaces}), "select 1") == (1, 1)


@pytest.mark.parametrize("query", ["sslmode=require", "ssl=require", "ssl=true", "sslmode=no-verify"])
async def test_database_url_with_tls_never_connects_without_tls(query: str) -> None:
    received = asyncio.Queue[bytes]()

    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.readexactly(8))
        writer.write(b"N")
        received.put_nowait(await reader.read())
        writer.close()

    settings = read_settings({"DATABASE_URL": "postgresql:///", "JWT_SECRET": SECRET})
    async with await asyncio.start_server(refuse_tls, "127.0.0.1") as server:
        url = f"postgresql://u:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/d?{query}"
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await open_connection(for_asyncpg(url), settings)
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
            await asyncio.to_thread(lambda: psycopg.connect(for_psycopg(url)))

        ssl_request = struct.pack("!ll", 8, 80877103)  # PostgreSQL manual, 55.7
        assert [await received.get() for _ in range(4)] == [ssl_request, b""] * 2


async def test_database_url_with_direct_tls_begins_with_the_handshake() -> None:
    received = asyncio.Queue[bytes]()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read(100))
        writer.close()

    context = tls_context()
    context.set_alpn_protocols(["postgresql"])
    async with await asyncio.start_server(listen, "127.0.0.1", ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://u:secret@127.0.0.1:{port}/d?sslmode=require&sslnegotiation=direct"
        settings = read_settings({"DATABASE_URL": url, "JWT_SECRET": SECRET})
        with pytest.raises((ConnectionError, asyncpg.PostgresError)):
            await open_connection(for_asyncpg(url), settings)
        assert b"user\0u\0" in await asyncio.wait_for(received.get(), 5)


def test_database_url_with_system_certificates_names_their_file() -> None:
    url = "postgresql://u@h/d?sslmode=verify-full&sslrootcert=system"

    assert parameters(for_asyncpg(url))["sslrootcert"].startswith("/")
    assert parameters(for_psycopg(url))["sslrootcert"] == parameters(for_asyncpg(url))["sslrootcert"]


def test_database_url_of_several_hosts_asks_for_the_primary() -> None:
    url = "postgresql://u@one,two:5433,[::1]:5434/d"

    assert parameters(for_psycopg(url)) == {
        **PSYCOPG_DEFAULTS,
        "user": "u",
        "dbname": "d",
        "host": "one,two,::1",
        "port": "5432,5433,5434",
        "target_session_attrs": "read-write",
    }
    assert parameters(for_asyncpg(url))["host"] == "one,two,[::1]"
    assert parameters(for_asyncpg(url))["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in for_asyncpg("postgresql://u@one/d")


def test_database_url_of_neon_keeps_every_parameter() -> None:
    url = "postgresql://u:npg_x@ep-a-pooler.eu.neon.tech/d?sslmode=require&channel_binding=require&options=endpoint%3Dep-a"
    read = {
        "user": "u",
        "password": "npg_x",
        "dbname": "d",
        "host": "ep-a-pooler.eu.neon.tech",
        "sslmode": "require",
        "options": "endpoint=ep-a",
    }

    assert parameters(for_asyncpg(url)) == read | ASYNCPG_DEFAULTS
    assert parameters(for_psycopg(url)) == read | PSYCOPG_DEFAULTS | {"channel_binding": "require"}


def test_database_url_takes_the_hosts_of_the_query_string() -> None:
    read = parameters(for_asyncpg("postgresql://one,two/d?host=three"))

    assert read == {"dbname": "d", "host": "three"} | ASYNCPG_DEFAULTS


def test_database_url_takes_a_cloud_sql_socket() -> None:
    url = "postgresql://u:p@localhost/d?host=/cloudsql/project:region:instance"

    assert parameters(for_asyncpg(url))["host"] == "/cloudsql/project:region:instance"


@pytest.mark.parametrize("written", ["p@ss:w#rd+%25", "p%40ss%3Aw%23rd%2B%25"])
def test_database_url_takes_a_password_as_it_is_pasted(written: str) -> None:
    url = f"postgres://u:{written}@h/d"

    assert parameters(for_asyncpg(url))["password"] == "p@ss:w#rd+%"
    assert conninfo_to_dict(for_psycopg(url))["password"] == "p@ss:w#rd+%"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://u:secret@h/d", "is for mysql: this service needs PostgreSQL"),
        ("jdbc:postgresql://h/d?user=u&password=secret", "is a JDBC URL"),
        ("secret", "is not like postgresql://"),
        ("host=h password=secret", "is not like postgresql://"),
        ("postgres://u:5/secret@h/d", "is not like postgresql://"),
        ("postgres://u:5?secret@h/d", "is not like postgresql://"),
        ("postgres://u:secret@h:x/d", "needs a port"),
        ("postgres://u:secret@h:0/d", "needs a port"),
        ("postgres://u:secret@h:65536/d", "needs a port"),
        ("postgres://u:secret@h/d?port=x", "needs a port"),
        ("postgres://u:secret@a,b,c/d?port=1,2", "needs a port"),
        ("postgres://u:secret@a,,b/d", "has a host that cannot be read"),
        ("postgres://u:secret@[::1/d", "has a host that cannot be read"),
        ("postgres://u:secret@h/d?sslmode=secret", "has an sslmode that does not exist"),
        ("postgres://u:secret@h/d?sslmod=secret", "has unknown parameters: sslmod"),
        ("postgres://u:secret@h/d?schema=mine", "has a schema, which is not applied: write options="),
        ("postgres://u:secret@h/d?sslrootcert=/no/ca.pem", "names a file that does not exist: sslrootcert=/no/ca.pem"),
    ],
)
@pytest.mark.parametrize("rewrite", [for_asyncpg, for_psycopg])
def test_database_url_is_refused_without_being_shown(rewrite: Callable[[str], str], url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=f"^DATABASE_URL {reason}") as refusal:
        rewrite(url)

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=verify-full", "root certificate file"),
        ("sslmode=verify-ca", "root certificate file"),
        ("host=/nowhere", "Check the paths in DATABASE_URL"),
        ("sslmode=require", "No answer within CONNECT_TIMEOUT"),
    ],
)
def test_readyz_says_what_is_wrong_with_the_files_and_the_server_of_database_url(
    query: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # without .postgresql/root.crt
    with create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d?{query}"
        with serving(database_url=url, connect_timeout=0.2, acquire_timeout=0.1) as api:
            until(lambda: said in api.anonymous.get("/readyz").text)
