"""The settings: each one's default and bounds, and that what is wrong is named and never shown."""

import subprocess
import sys

import msgspec
import pytest

from service.settings import ROOT, Settings, SettingsError, read_settings, settings_table

GIVEN = {"DATABASE_URL": "postgresql://ada:hunter2@db.example/tasks", "JWT_SECRET": "hunter2-" * 4}

DEFAULTS = {
    "jwks_url": "",
    "jwks_file": "",
    "jwks_refresh": 300,
    "jwks_cooldown": 5,
    "jwt_issuer": "",
    "jwt_audience": "",
    "jwt_leeway": 10,
    "token_cache_size": 10_000,
    "host": "127.0.0.1",
    "port": 4000,
    "workers": 1,
    "pool_min_size": 5,
    "pool_max_size": 20,
    "acquire_timeout": 1,
    "statement_timeout": 2,
    "connect_timeout": 5,
    "probe_interval": 1,
    "prepared_statements": True,
    "row_level_security": False,
    "provision_users": True,
    "max_body_bytes": 1_048_576,
    "max_waiting": 1000,
    "max_connections": 10_000,
    "shutdown_delay": 2,
    "shutdown_timeout": 10,
    "log_level": "info",
    "cors_origins": "",
    "server_timing": False,
    "metrics_port": 0,
}

SECONDS = (["0.001", "1", "3600", "1e3"], ["0", "-1", "3600.1", "nan", "inf", "1e400", "1s", "1,5"])

ACCEPTED_AND_REFUSED = {
    "JWKS_REFRESH": SECONDS,
    "JWKS_COOLDOWN": SECONDS,
    "ACQUIRE_TIMEOUT": SECONDS,
    "STATEMENT_TIMEOUT": SECONDS,
    "CONNECT_TIMEOUT": SECONDS,
    "PROBE_INTERVAL": SECONDS,
    "SHUTDOWN_TIMEOUT": SECONDS,
    "SHUTDOWN_DELAY": (["0", "0.5", "300"], ["-0.1", "300.1", "nan", "inf", "soon"]),
    "JWT_LEEWAY": (["0", "0.5", "30"], ["-0.1", "30.1", "nan", "inf", "soon"]),
    "TOKEN_CACHE_SIZE": (["0", "1000000"], ["-1", "1.5", "many"]),
    "PORT": (["0", "65535", " 80 "], ["-1", "65536", "http", "4000.5", "0x50", "4_000", "\uff14\uff10"]),
    "METRICS_PORT": (["0", "65535"], ["-1", "65536", "http"]),
    "WORKERS": (["1", "64"], ["0", "65", "auto"]),
    "POOL_MIN_SIZE": (["1", "20"], ["0", "-1", "1001", "few"]),
    "POOL_MAX_SIZE": (["5", "1000"], ["0", "1001", "many"]),
    "MAX_BODY_BYTES": (["1024", "1000000000"], ["1023", "1MiB"]),
    "MAX_WAITING": (["1", "1000000"], ["0", "-1", "many"]),
    "MAX_CONNECTIONS": (["1", "1000000"], ["0", "many"]),
    "PREPARED_STATEMENTS": (["true", "false", "TRUE", "False", "1", "0"], ["off", "yes", "2", "tru"]),
    "ROW_LEVEL_SECURITY": (["true", "false", "1", "0"], ["off", "yes"]),
    "PROVISION_USERS": (["true", "false", "1", "0"], ["off", "yes"]),
    "SERVER_TIMING": (["true", "false", "1", "0"], ["off", "yes"]),
    "LOG_LEVEL": (["debug", "info", "warning", "error"], ["verbose", "30"]),
    "CORS_ORIGINS": (
        [
            "https://app.example",
            "http://localhost:3000, https://app.example/",
            "http://[::1]:80",
            "capacitor://localhost",
        ],
        [
            *(
                "*",
                "https://*.example",
                "null",
                "app.example",
                "https://",
                "https://app.example/page",
                "https://a.example,",
            ),
            *("https://a.example https://b.example", "https://app.example:port", "https://App.example", "a:b@c", "//a"),
            *("https://a\r\nset-cookie: b", "https://ä.example", "https://a.example?", "https://a.example#"),
        ],
    ),
}


def settings(**changes: str | None) -> Settings:
    return read_settings({name: text for name, text in (GIVEN | changes).items() if text is not None})


def refusal(**changes: str | None) -> str:
    with pytest.raises(SettingsError) as error:
        settings(**changes)
    assert error.value.__cause__ is None  # a traceback would show it
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return str(error.value)


def test_setting_that_is_absent_has_its_default() -> None:
    chosen = msgspec.structs.asdict(settings())

    assert chosen == DEFAULTS | {name.lower(): text for name, text in GIVEN.items()}


def test_setting_that_is_empty_has_its_default() -> None:
    assert settings(PORT="", HOST=" ", LOG_LEVEL="\t", JWKS_URL="", PREPARED_STATEMENTS="") == settings()


def test_setting_of_another_program_is_ignored() -> None:
    assert settings(PATH="/bin", PGHOST="elsewhere", port="1") == settings()


@pytest.mark.parametrize("name", ACCEPTED_AND_REFUSED)
def test_setting_within_its_bounds_is_accepted(name: str) -> None:
    for text in ACCEPTED_AND_REFUSED[name][0]:
        chosen = getattr(settings(**{name: text}), name.lower())

        expected = text.strip().lower() in ("true", "1") if isinstance(chosen, bool) else type(chosen)(text)
        assert chosen == expected


@pytest.mark.parametrize("name", ACCEPTED_AND_REFUSED)
def test_setting_out_of_its_bounds_is_named(name: str) -> None:
    for text in ACCEPTED_AND_REFUSED[name][1]:
        assert refusal(**{name: text}).startswith(name), text


@pytest.mark.parametrize("name", sorted(ACCEPTED_AND_REFUSED))
def test_setting_that_is_wrong_is_never_shown(name: str) -> None:
    assert "hunter2" not in refusal(**{name: "hunter2"})


def test_setting_with_bounds_is_tested() -> None:
    free = {"DATABASE_URL", "JWT_SECRET", "JWKS_URL", "JWKS_FILE", "JWT_ISSUER", "JWT_AUDIENCE", "HOST"}

    assert {field.name.upper() for field in msgspec.structs.fields(Settings)} == free | ACCEPTED_AND_REFUSED.keys()


@pytest.mark.parametrize("text", [None, "", "   "])
def test_database_url_is_required(text: str | None) -> None:
    assert refusal(DATABASE_URL=text) == "DATABASE_URL is missing"


@pytest.mark.parametrize(
    "keys",
    [
        {"JWT_SECRET": None},
        {"JWT_SECRET": ""},
        {"JWKS_URL": "https://auth.example/jwks"},
        {"JWKS_FILE": "keys.json"},
        {"JWT_SECRET": None, "JWKS_URL": "https://auth.example/jwks", "JWKS_FILE": "keys.json"},
    ],
)
def test_key_is_required_once(keys: dict[str, str | None]) -> None:
    assert refusal(**keys) == "set exactly one of JWT_SECRET, JWKS_URL and JWKS_FILE"


@pytest.mark.parametrize("key", ["JWT_SECRET", "JWKS_URL", "JWKS_FILE"])
def test_key_of_each_kind_is_enough(key: str) -> None:
    given = {"JWT_SECRET": "é" * 16, "JWKS_URL": "https://auth.example/jwks", "JWKS_FILE": "keys.json"}

    assert getattr(settings(**{name: text if name == key else None for name, text in given.items()}), key.lower())


@pytest.mark.parametrize("secret", ["hunter2", "x" * 31, "é" * 15])
def test_secret_of_less_than_32_bytes_is_refused(secret: str) -> None:
    message = refusal(JWT_SECRET=secret)

    assert message == "JWT_SECRET is shorter than 32 bytes"


@pytest.mark.parametrize(
    "url",
    [
        "https://auth.example/jwks",
        "https://auth.example:8443/",
        "http://localhost:3000/",
        "http://127.0.0.1/",
        "http://[::1]/",
    ],
)
def test_jwks_url_that_is_safe_to_fetch_is_accepted(url: str) -> None:
    assert settings(JWT_SECRET=None, JWKS_URL=url).jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example/jwks",
        "http://localhost.auth.example/jwks",
        "http://localhost@auth.example/jwks",
        "http://10.0.0.1/jwks",
        "file:///etc/hunter2",
        "auth.example/hunter2",
        "https://",
        "https:///hunter2",
        "https://[hunter2",
        "https://[hunter2]/",
        "https://auth.example:hunter2/",
        "https://auth.example:65536/",
    ],
)
def test_jwks_url_that_is_not_safe_to_fetch_is_refused(url: str) -> None:
    assert refusal(JWT_SECRET=None, JWKS_URL=url) == "JWKS_URL is not an https address (http is for loopback only)"


def test_pool_cannot_be_smaller_than_its_least() -> None:
    assert refusal(POOL_MIN_SIZE="21") == "POOL_MIN_SIZE is larger than POOL_MAX_SIZE"
    assert settings(POOL_MIN_SIZE="21", POOL_MAX_SIZE="21").pool_min_size == 21


def test_settings_show_no_value() -> None:
    chosen = settings(JWT_ISSUER="hunter2")

    assert "hunter2" not in f"{chosen} {chosen!r} {[chosen]} {vars(Settings)}"


@pytest.mark.parametrize("name", ["database_url", "port"])
def test_settings_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(settings(), name, "")


def command(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m service NAME` with nothing but `environment`."""
    program = [sys.executable, "-m", "service", name]
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        ({"DATABASE_URL": "mysql://ada:hunter2@db.example/tasks"}, "DATABASE_URL is not like postgresql://"),
        ({"DATABASE_URL": "postgresql://ada:hunter2@db.example/tasks?sslmod=require"}, "DATABASE_URL has parameters"),
        ({"JWT_SECRET": ""}, "set exactly one of JWT_SECRET, JWKS_URL and JWKS_FILE"),
        ({"JWT_SECRET": "hunter2"}, "JWT_SECRET is shorter"),
        ({"JWT_SECRET": "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----"}, "JWT_SECRET is a public key"),
        ({"PORT": "hunter2"}, "PORT is not valid"),
        ({"LOG_LEVEL": "hunter2"}, "LOG_LEVEL is not valid"),
    ],
)
def test_serve_with_a_setting_at_fault_ends_at_once_and_names_it(changes: dict[str, str], reason: str) -> None:
    ended = command("serve", **GIVEN | changes)

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {reason}")
    assert ended.stderr.count("\n") == 1
    assert "hunter2" not in ended.stdout + ended.stderr


def test_settings_prints_the_table_of_the_readme() -> None:
    printed = command("settings").stdout.rstrip()

    assert printed == settings_table()
    assert printed in (ROOT / "README.md").read_text()


def test_settings_table_has_every_setting() -> None:
    rows = settings_table().splitlines()[2:]

    assert [row.split("`")[1] for row in rows] == [field.name.upper() for field in msgspec.structs.fields(Settings)]
    assert rows[0] == "| `DATABASE_URL` | required | PostgreSQL, in any of the forms that people paste |"
    assert "| `PREPARED_STATEMENTS` | `true` |" in settings_table()
    assert "| `PORT` | `4000` |" in settings_table()
