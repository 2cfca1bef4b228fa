"""The settings: how values are read, and that an error names the setting and does not contain its value."""

import subprocess
import sys
from typing import get_type_hints

import pytest

from service.settings import ROOT, Settings, SettingsError, read_settings

GIVEN = {"DATABASE_URL": "postgresql://ada:hunter2@db.example/tasks", "JWT_SECRET": "hunter2-" * 4}

BOUNDS = [
    ("JWKS_REFRESH", ["0.001", "3600"], ["0", "3600.001"]),
    ("JWKS_COOLDOWN", ["0.001", "3600"], ["0", "3600.001"]),
    ("JWT_LEEWAY", ["0", "30"], ["-1", "31"]),
    ("TOKEN_CACHE_SIZE", ["0"], ["-1"]),
    ("MAX_TOKEN_BYTES", ["1024", "14336"], ["1023", "14337"]),
    ("PORT", ["0", "65535"], ["-1", "65536"]),
    ("WORKERS", ["1", "64"], ["0", "65"]),
    ("POOL_MIN_SIZE", ["1", "20"], ["0", "1001"]),
    ("POOL_MAX_SIZE", ["5", "1000"], ["0", "1001"]),
    ("POOL_USER_SHARE", ["0.01", "1"], ["0", "1.01"]),
    ("ACQUIRE_TIMEOUT", ["0.001", "60"], ["0", "60.001"]),
    ("STATEMENT_TIMEOUT", ["0.001", "60"], ["0", "60.001"]),
    ("CONNECT_TIMEOUT", ["0.001", "60"], ["0", "60.001"]),
    ("PROBE_INTERVAL", ["0.001", "3600"], ["0", "3600.001"]),
    ("MAX_BODY_BYTES", ["1024"], ["1023"]),
    ("MAX_BODY_BYTES_TOTAL", ["1024"], ["1023"]),
    ("MAX_WAITING", ["1"], ["0"]),
    ("MAX_CONNECTIONS", ["1"], ["0"]),
    ("KEEP_ALIVE_TIMEOUT", ["0.001", "3600"], ["0", "3600.001"]),
    ("SHUTDOWN_DELAY", ["0", "300"], ["-1", "301"]),
    ("SHUTDOWN_TIMEOUT", ["0.001", "3600"], ["0", "3600.001"]),
    ("METRICS_PORT", ["0", "65535"], ["-1", "65536"]),
]
"""Each setting that is a number, with values that are accepted and values that are refused."""

ORIGINS = [
    "https://app.example",
    "http://localhost:3000, https://app.example/",
    "http://[::1]:80",
    "http://localhost:*, https://app.example",
    "*",
    "capacitor://localhost",
]
NO_ORIGINS = [
    *(
        "*, https://app.example",
        "https://*.example",
        "http://localhost:3*",
        "null",
        "app.example",
        "https://",
        "https://app.example/page",
        "https://a.example,",
    ),
    *("https://a.example https://b.example", "https://app.example:port", "https://App.example", "a:b@c", "//a"),
    *("https://a\r\nset-cookie: b", "https://ä.example", "https://a.example?", "https://a.example#"),
]


def of_type(*types: type) -> list[str]:
    """The settings of one of these types."""
    kinds = get_type_hints(Settings)
    return [name.upper() for name, kind in kinds.items() if kind in types]


def settings(**changes: str | None) -> Settings:
    return read_settings({name: text for name, text in (GIVEN | changes).items() if text is not None})


def error_message(**changes: str | None) -> str:
    """The message of the SettingsError that `changes` cause."""
    with pytest.raises(SettingsError) as error:
        settings(**changes)
    assert error.value.__cause__ is None  # a traceback would show the value
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return str(error.value)


def test_setting_that_is_empty_has_its_default() -> None:
    assert settings(PORT="", HOST=" ", LOG_LEVEL="\t", JWKS_URL="", PREPARED_STATEMENTS="") == settings()


def test_setting_of_another_program_is_ignored() -> None:
    assert settings(PATH="/bin", PGHOST="elsewhere", port="1") == settings()


def test_bounds_are_tested_for_every_number() -> None:
    assert [name for name, _, _ in BOUNDS] == of_type(int, float)


@pytest.mark.parametrize(("name", "accepted", "refused"), BOUNDS)
def test_number_is_accepted_at_its_bounds_and_refused_beyond(
    name: str, accepted: list[str], refused: list[str]
) -> None:
    for text in accepted:
        assert getattr(settings(**{name: text}), name.lower()) == float(text)
    for text in refused:
        assert error_message(**{name: text}).startswith(f"{name} is not valid: it is a ")


@pytest.mark.parametrize("name", of_type(int, float))
@pytest.mark.parametrize("text", ["many", "nan", "inf", "1,5", "1.2.3s", "0x50", "\uff11s", "s"])
def test_text_in_place_of_a_number_is_refused(name: str, text: str) -> None:
    assert error_message(**{name: text}).startswith(f"{name} is not valid")


@pytest.mark.parametrize("text", ["1.5", "2_000"])
def test_fraction_in_place_of_a_whole_number_is_refused(text: str) -> None:
    assert error_message(WORKERS=text).startswith("WORKERS is not valid: it is a whole number from 1 to 64")


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("1500ms", 1.5), ("1 m", 60), ("2.5", 2.5), ("1E1", 10)])
def test_time_may_have_a_unit(text: str, seconds: float) -> None:
    assert settings(STATEMENT_TIMEOUT=text).statement_timeout == seconds


@pytest.mark.parametrize("name", of_type(bool))
def test_boolean_is_true_or_false(name: str) -> None:
    for text, value in {"true": True, "TRUE": True, "1": True, "false": False, "False": False, " 0 ": False}.items():
        assert getattr(settings(**{name: text}), name.lower()) is value
    for text in ("off", "yes", "2", "tru"):
        assert error_message(**{name: text}) == f"{name} is not valid: it is true or false"


def test_log_level_is_accepted_in_capitals() -> None:
    assert settings(LOG_LEVEL="INFO").log_level == "info"
    assert error_message(LOG_LEVEL="verbose") == "LOG_LEVEL is not valid: it is one of debug, info, warning, error"


@pytest.mark.parametrize("origins", ORIGINS)
def test_cors_origins_are_accepted(origins: str) -> None:
    assert settings(CORS_ORIGINS=origins).cors_origins == origins


@pytest.mark.parametrize("origins", NO_ORIGINS)
def test_cors_origins_that_are_not_origins_are_refused(origins: str) -> None:
    assert error_message(CORS_ORIGINS=origins).startswith("CORS_ORIGINS is not a list of origins")


@pytest.mark.parametrize("host", ["http://0.0.0.0", "0.0.0.0/0"])
def test_host_that_is_a_url_is_refused(host: str) -> None:
    assert error_message(HOST=host).startswith("HOST is a URL")


@pytest.mark.parametrize("quoted", ['"4000"', "'4000'", "'", '""'])
def test_value_with_quotation_marks_is_refused(quoted: str) -> None:
    assert error_message(PORT=quoted).startswith("PORT ")


@pytest.mark.parametrize("name", [*of_type(int, float, bool), "LOG_LEVEL", "CORS_ORIGINS"])
def test_value_that_is_wrong_is_never_shown(name: str) -> None:
    assert "hunter2" not in error_message(**{name: "hunter2"})


@pytest.mark.parametrize(
    ("query", "prepared"),
    [
        ("", True),
        ("?pgbouncer=true", False),
        ("?sslmode=require&pgbouncer=true", False),
        ("?statement_cache_size=0", False),
        ("?prepared_statement_cache_size=0&sslmode=require", False),
        ("?pgbouncer=false", True),
        ("?statement_cache_size=100", True),
    ],
)
def test_database_url_of_a_pooler_without_prepared_statements_turns_them_off(query: str, prepared: bool) -> None:
    url = f"postgresql://ada@db.example/tasks{query}"

    assert settings(DATABASE_URL=url).prepared_statements is prepared
    assert settings(DATABASE_URL=url, PREPARED_STATEMENTS="true").prepared_statements is True


def test_settings_that_are_changed_are_named() -> None:
    names = settings(PORT="4000", WORKERS="2").changed()

    assert names == ["DATABASE_URL", "JWT_SECRET", "WORKERS"]


@pytest.mark.parametrize("text", [None, "", "   "])
def test_database_url_is_required(text: str | None) -> None:
    assert error_message(DATABASE_URL=text) == "DATABASE_URL is missing"


def test_pool_min_size_above_pool_max_size_is_refused() -> None:
    assert error_message(POOL_MIN_SIZE="21") == "POOL_MIN_SIZE is larger than POOL_MAX_SIZE"
    assert settings(POOL_MIN_SIZE="21", POOL_MAX_SIZE="21").pool_min_size == 21


def test_settings_show_no_value() -> None:
    chosen = settings(JWT_ISSUER="hunter2")

    assert "hunter2" not in f"{chosen} {chosen!r} {[chosen]} {vars(Settings)}"


def command(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m service NAME` with only `environment`."""
    program = [sys.executable, "-m", "service", name]
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        ({"DATABASE_URL": "mysql://ada:hunter2@db.example/tasks"}, "DATABASE_URL is for mysql"),
        (
            {"DATABASE_URL": "postgresql://ada:hunter2@db.example/tasks?sslmod=require"},
            "DATABASE_URL has unknown parameters",
        ),
        ({"JWT_SECRET": ""}, "set JWT_SECRET, JWKS_URL, JWKS_FILE, JWT_DISCOVERY_URL or JWT_ISSUERS"),
        ({"JWT_SECRET": "", "JWKS_URL": "https://id.example/jwks"}, "CURSOR_SECRET is missing"),
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


def test_settings_prints_the_table_of_the_configuration_page() -> None:
    printed = command("settings").stdout.rstrip()

    assert [line.split("`")[1].lower() for line in printed.splitlines()[2:]] == list(Settings.__struct_fields__)
    assert f"<!-- settings -->\n{printed}\n<!-- /settings -->\n" in (ROOT / "docs" / "configuration.md").read_text()
