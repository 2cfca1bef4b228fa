"""The pages: the targets of links, and the tests, make targets, files, modules and settings that they name, exist."""

import re
from pathlib import Path

import msgspec
import pytest

from service.__main__ import settings_table
from service.settings import ROOT, Settings
from tests.test_imports import imports

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md"), *ROOT.glob("examples/*/*.md")]

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```.*?^```|^    [^\n]*|`[^`\n]+`", re.DOTALL | re.MULTILINE)

README_LINES = 180

NOT_DRAWN = {"settings", "timers", "version", "observability.log", "observability.request_log"}
"""Modules that depend on no layer: docs/architecture.md does not draw their imports."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The anchors of the page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_of(page: Path) -> str:
    return "\n".join(CODE.findall(page.read_text()))


@every_page
def test_docs_link_to_existing_targets(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text()))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_docs_name_existing_tests(page: Path) -> None:
    files = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("tests/*/test_*.py")]
    tests = {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}

    assert set(re.findall(r"\btest_\w+\b(?!\.)", code_of(page))) <= tests


@every_page
def test_docs_name_existing_make_targets(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", code_of(page))) <= targets


@every_page
def test_docs_name_existing_files(page: Path) -> None:
    spans = re.findall(r"`([\w./*-]+)`", page.read_text())
    folders = [path.name for path in ROOT.glob("[a-z]*/")]

    for span in spans:
        if span.split("/")[0] in folders and "/" in span:
            assert list(ROOT.glob(span)), span
        elif span.endswith(".py"):
            assert list(ROOT.glob(f"[a-z]*/**/{span}")), span


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".env.example"], ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_name_existing_settings(page: Path) -> None:
    named = re.findall(r"(?<=`)[A-Z]+(?:_[A-Z]+)+(?=`)|\b[A-Z]+(?:_[A-Z]+)+(?==)", page.read_text())
    settings = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    of_the_load = set(re.findall(r"LOCUST_[A-Z]+", (ROOT / "load" / "locustfile.py").read_text()))
    of_the_tests = set(re.findall(r"TEST_[A-Z]+_URL", (ROOT / "tests" / "conftest.py").read_text()))
    of_other_programs = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}

    assert set(named) <= settings | of_the_load | of_the_tests | of_other_programs


def test_operations_page_names_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    metrics = set(re.findall(r'"(task_service_\w+)"', (ROOT / "service" / "observability" / "metrics.py").read_text()))

    assert set(re.findall(r"\btask_service_\w+?(?=_total\b|_bucket\b|_count\b|\b)", page)) == metrics
    assert set(re.findall(r"^\| `(\w+?)(?:_total)?` \|", page, re.MULTILINE)) >= metrics


def test_readme_is_short_and_its_settings_have_their_defaults() -> None:
    page = (ROOT / "README.md").read_text()
    row = re.compile(r"^\| `([A-Z_]+)` \| (\S+) \|", re.MULTILINE)
    named = row.findall(page)

    assert len(page.splitlines()) <= README_LINES
    assert len(named) == 10
    assert set(named) <= set(row.findall(settings_table()))


@every_page
def test_page_begins_with_what_its_reader_can_do(page: Path) -> None:
    if page not in (ROOT / "README.md", ROOT / "CHANGELOG.md"):
        assert re.match(r"# .+\n\nAfter reading this page you can ", page.read_text())


def test_architecture_page_names_every_module_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    parts = re.split(r"^### `service/(\w*)/?`.*$", page, flags=re.MULTILINE)
    folders = dict(zip(parts[1::2], parts[2::2], strict=True))
    named = {
        f"{folder}/{name}"
        for folder in folders
        for name in re.findall(r"^\| `(\S+\.py)`", folders[folder], re.MULTILINE)
    }
    modules = {
        path.relative_to(ROOT / "service") for path in ROOT.glob("service/**/*.py") if path.name != "__init__.py"
    }

    assert named == {str(path) if len(path.parts) > 1 else f"/{path}" for path in modules}


def test_architecture_page_draws_every_import_between_packages_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = set(re.findall(r"^    (\w+)(?:\[.*?\])? --.*> (\w+)", page, re.MULTILINE))
    reached = set(drawn)
    while further := {(a, d) for a, b in reached for c, d in drawn if b == c} - reached:
        reached |= further
    nodes = {"__main__": "main", "setting_values": "settings", "supervisor": "server", "shutdown": "app"}

    found = set()
    for importer, imported in imports(ROOT / "service"):
        if imported not in NOT_DRAWN:
            one, other = (nodes.get(name, name) for name in (importer.split(".")[0], imported.split(".")[0]))
            assert one == other or (one, other) in reached, f"{importer} imports {imported}"
            found.add((one, other))
    assert drawn <= found
