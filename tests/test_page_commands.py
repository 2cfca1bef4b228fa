"""The commands of the README and of the pages that it leads to, run as they are printed.

A block of `sh` or `sql` is run unless the line above it is `<!-- not run: REASON -->`. If a block of `json` or `http`
follows, it is the last line of the answer, with other ids, times and cursors.
"""

import re
import subprocess
from pathlib import Path

import pytest

from service.dev.postgres import PROGRAMS
from service.settings import ROOT
from tests.ports import free_port
from tests.serving import SECRET, serving

NAMES = ["README.md", "docs/api.md", "docs/load-testing.md", "docs/dba.md", "docs/operations.md", "sql/README.md"]

FENCED = re.compile(r"^(?:<!-- not run: (\S.*) -->\n)?```(\w*)\n((?:(?!```).*\n)*)```\n", re.MULTILINE)

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
        self.reason, self.language, self.text = match.groups()
        self.answer = following[3].strip() if following and following[2] in ("json", "http") else None

    @property
    def command(self) -> str:
        if self.language == "sql":
            return f"psql --quiet --set ON_ERROR_STOP=1 \"$DATABASE_URL\" <<'END'\n{self.text}END\n"
        return self.text


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    blocks = [Block(match, FENCED.match(text, match.end())) for match in FENCED.finditer(text)]
    return [block for block in blocks if block.language in ("sh", "sql")]


@pytest.mark.parametrize("name", NAMES)
def test_commands_of_a_page_run_as_printed(name: str, database: str, tmp_path: Path) -> None:
    page, metrics_port, project = ROOT / name, free_port(), copy_of_the_project(tmp_path / "project")
    blocks = blocks_of(page)
    run = [block for block in blocks if not block.reason]
    assert run

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
    print(f"{name}: {len(run)} blocks run, {len(blocks) - len(run)} not run")


def copy_of_the_project(project: Path) -> Path:
    """A folder that leads to the project's files. Commands may write into it, and make installs nothing."""
    packages = project / ".venv"
    packages.mkdir(parents=True)
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (project / path.name).symlink_to(path)
    for name in ("bin", "lib", "pyvenv.cfg"):
        (packages / name).symlink_to((ROOT / ".venv" / name).resolve())
    for stamp in ("made", "run", "dev", "load"):
        (packages / stamp).touch()
    return project
