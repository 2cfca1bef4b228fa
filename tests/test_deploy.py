"""The numbers in deploy/ are consistent with each other and the settings. `make deploy-check` runs these files."""

import re
from typing import Any

import msgspec
import pytest
import yaml

from service.db.connections import CLOSE_SECONDS
from service.settings import ROOT, Settings

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
CONFIG_MAP, DEPLOYMENT = (
    yaml.safe_load((DEPLOY / "kubernetes" / name).read_text()) for name in ("settings.yaml", "deployment.yaml")
)
UNIT = (DEPLOY / "systemd" / "task-service.service").read_text()

DEFAULTS = {field.name.upper(): field.default for field in msgspec.structs.fields(Settings)}

LOG_SECONDS = 1
"""Time to write the last lines of the log at the stop."""


def figure(pattern: str, text: str) -> float:
    match = re.search(pattern, text, re.MULTILINE)
    assert match, pattern
    return float(match[1])


GRACES = [
    (COMPOSE["service"]["environment"], figure(r"^(\d+)s$", COMPOSE["service"]["stop_grace_period"])),
    (CONFIG_MAP["data"], DEPLOYMENT["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]),
    ({}, figure(r"^TimeoutStopSec=(\d+)$", UNIT)),
]


@pytest.mark.parametrize(("environment", "grace"), GRACES, ids=["compose", "kubernetes", "systemd"])
def test_graceful_stop_ends_before_the_kill(environment: dict[str, str], grace: float) -> None:
    values = DEFAULTS | environment
    steps = [float(values[name]) for name in ("SHUTDOWN_DELAY", "SHUTDOWN_TIMEOUT")]

    assert sum(steps) + 2 * CLOSE_SECONDS + LOG_SECONDS < grace


@pytest.mark.parametrize("environment", [COMPOSE["service"]["environment"], CONFIG_MAP["data"]])
def test_files_set_settings_that_exist(environment: dict[str, str]) -> None:
    assert environment.keys() <= DEFAULTS.keys()


def test_pools_of_a_rolling_update_fit_postgresqls_default() -> None:
    spec: Any = DEPLOYMENT["spec"]
    pods = spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"]
    migration, most, reserved = 2, 100, 3

    assert pods * int(CONFIG_MAP["data"]["POOL_MAX_SIZE"]) + migration <= most - reserved


def test_instance_is_removed_from_the_balancer_before_it_stops() -> None:
    probe = DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(CONFIG_MAP["data"]["SHUTDOWN_DELAY"])

    haproxy = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    first, second = (figure(rf" {word} (\d+)ms ", haproxy) for word in ("inter", "fastinter"))
    assert (first + second) / 1000 < float(DEFAULTS["SHUTDOWN_DELAY"])


def test_units_limit_the_open_files_above_what_connections_need() -> None:
    needed = 2 * DEFAULTS["MAX_CONNECTIONS"] + DEFAULTS["POOL_MAX_SIZE"] + 100

    assert figure(r"^LimitNOFILE=(\d+)$", UNIT) > needed
    assert COMPOSE["service"]["ulimits"]["nofile"]["hard"] > needed


def test_no_file_holds_a_secret() -> None:
    for path in (path for path in DEPLOY.rglob("*") if path.is_file()):
        for url in re.findall(r"://[^/\s]*:([^@/\s]+)@", path.read_text()):
            assert url.startswith("${") or url.isupper(), path
