"""The commands of every page, run as they are printed.

A block of `sh` or `sql` is run unless the line above it is `<!-- not run: REASON -->`. A block of `json` or `http`
after it shows the last line of its output, with other ids, times and cursors.
"""

import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from service.dev.postgres import PROGRAMS
from service.settings import ROOT
from tests.ports import free_port
from tests.serving import SECRET, serving
from tests.test_pages import PAGES, every_page

FENCED = re.compile(r"^(?: *<!-- not run: (\S.*) -->\n)? *```(\w*)\n((?:(?! *```).*\n)*) *```\n", re.MULTILINE)

OTHER_LANGUAGES = {"http", "js", "json", "mermaid", "python", "text", "ts", "yaml"}
"""Blocks in these languages are not commands of a shell or of psql."""

CHANGING = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9-]{10}T[0-9:]{8}\.[0-9]{6}Z|(?<=cursor=)[\w-]{52}"
)

STATUS_OF_A_CALL = re.compile(r"^\| \w+ \| `[A-Z]+ /api/.* \| (\d{3})\b", re.MULTILINE)

# curl succeeds whatever the status is, so each status is noted.
SHELL = """
set -eu -o pipefail
curl() {
    local head status=0
    head=$(mktemp)
    command curl --silent --dump-header "$head" "$@" || status=$?
    head -n 1 "$head" | cut -d ' ' -f 2 >> statuses
    return "$status"
}
"""
END = "END OF THE BLOCK\n"


class Block:
    """A fenced block. `answer` is the text of the block after it, if that shows an answer."""

    def __init__(self, match: re.Match[str], following: re.Match[str] | None) -> None:
        self.reason, self.language, text = match.groups()
        self.text = dedent(text)  # a block in a list is indented
        self.answer = following[3].strip() if following and following[2] in ("json", "http") else None

    @property
    def command(self) -> str:
        if self.language == "sql":
            return f"psql --quiet --set ON_ERROR_STOP=1 \"$DATABASE_URL\" <<'END'\n{self.text}END\n"
        return self.text


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    blocks = [Block(match, FENCED.match(text, match.end())) for match in FENCED.finditer(text)]
    return [block for block in blocks if block.language not in OTHER_LANGUAGES]


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if not block.reason]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_commands_of_a_page_run_as_printed(page: Path, database: str, tmp_path: Path) -> None:
    metrics_port, project = free_port(), copy_of_the_project(tmp_path / "project")
    run = runnable(page)

    with serving(database_url=database, metrics_port=metrics_port) as api:
        port = str(api.address[1])
        script = SHELL + f"echo '{END.strip()}'\n".join(block.command for block in run)
        script = script.replace("127.0.0.1:4000", f"127.0.0.1:{port}")
        script = script.replace("127.0.0.1:9000", f"127.0.0.1:{metrics_port}")
        settings = {"DATABASE_URL": database, "JWT_SECRET": SECRET, "PORT": port}
        ended = subprocess.run(
            ["bash", "-c", script],
            cwd=project,
            env=settings | {"PATH": f"/usr/bin:/bin:{PROGRAMS}"},
            capture_output=True,
            text=True,
        )

    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    for block, printed in zip(run, ended.stdout.split(END), strict=True):
        if block.answer:
            assert CHANGING.sub("", printed.splitlines()[-1]) == CHANGING.sub("", block.answer), block.text
    if statuses := STATUS_OF_A_CALL.findall(page.read_text()):
        assert (project / "statuses").read_text().split() == statuses


@every_page
def test_block_of_a_page_is_a_command_or_in_another_language(page: Path) -> None:
    assert {block.language for block in blocks_of(page)} <= {"sh", "sql"}
    assert not re.search(r"^\n    [a-z.]", FENCED.sub("", page.read_text()), re.MULTILINE), "put it between ```"


def test_block_of_a_new_page_is_run_unless_it_is_marked(tmp_path: Path) -> None:
    page = tmp_path / "new.md"
    marked = "<!-- not run: needs Docker -->\n```sh\ntwo\n```\n"
    page.write_text(f"```sh\none\n```\n{marked}1. List\n\n   ```sh\n   three\n   ```\n")

    assert [block.text for block in runnable(page)] == ["one\n", "three\n"]


def copy_of_the_project(project: Path) -> Path:
    """A folder with links to the project's files. Commands may write into it, and make installs nothing."""
    packages = project / ".venv"
    packages.mkdir(parents=True)
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (project / path.name).symlink_to(path)
    for name in ("bin", "lib", "pyvenv.cfg"):
        (packages / name).symlink_to((ROOT / ".venv" / name).resolve())
    for stamp in ("made", "run", "dev", "load"):
        (packages / stamp).touch()
    (project / ".venv-load").mkdir()
    (project / ".venv-load" / "made").touch()  # locust is absent: only `--rate` runs
    return project
