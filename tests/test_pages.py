"""The pages for readers: each link leads somewhere; each test, target, file and setting that they name is there."""

import re
from pathlib import Path

import msgspec
import pytest

from service.settings import ROOT, Settings

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md"), *ROOT.glob("examples/*/*.md")]

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^```.*?^```|^    [^\n]*|`[^`\n]+`", re.DOTALL | re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """What a link to the page may have behind its #: the headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_of(page: Path) -> str:
    return "\n".join(CODE.findall(page.read_text()))


@every_page
def test_docs_link_to_what_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text()))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_docs_name_tests_that_are_there(page: Path) -> None:
    files = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("tests/*/test_*.py")]
    tests = {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}

    assert set(re.findall(r"\btest_\w+\b(?!\.)", code_of(page))) <= tests


@every_page
def test_docs_name_make_targets_that_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", code_of(page))) <= targets


@every_page
def test_docs_name_files_that_are_there(page: Path) -> None:
    spans = re.findall(r"`([\w./*-]+)`", page.read_text())
    folders = [path.name for path in ROOT.glob("[a-z]*/")]

    for span in spans:
        if span.split("/")[0] in folders and "/" in span:
            assert list(ROOT.glob(span)), span
        elif span.endswith(".py"):
            assert list(ROOT.glob(f"[a-z]*/**/{span}")), span


@pytest.mark.parametrize("page", [*PAGES, ROOT / ".env.example"], ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_name_settings_that_are_there(page: Path) -> None:
    named = re.findall(r"(?<=`)[A-Z]+(?:_[A-Z]+)+(?=`)|\b[A-Z]+(?:_[A-Z]+)+(?==)", page.read_text())
    settings = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    of_the_load = set(re.findall(r"LOCUST_[A-Z]+", (ROOT / "load" / "locustfile.py").read_text()))
    of_the_tests = set(re.findall(r"TEST_[A-Z]+_URL", (ROOT / "tests" / "conftest.py").read_text()))

    assert set(named) <= settings | of_the_load | of_the_tests


def test_operations_page_names_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    metrics = set(re.findall(r'"(task_service_\w+)"', (ROOT / "service" / "observability" / "metrics.py").read_text()))

    assert set(re.findall(r"\btask_service_\w+?(?=_total\b|_bucket\b|_count\b|\b)", page)) == metrics
    assert set(re.findall(r"^\| `(\w+?)(?:_total)?` \|", page, re.MULTILINE)) >= metrics
