"""The direction of imports between the packages of service/, type-checking imports included, and no circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from service.settings import ROOT

LAYERS = {
    "setting_values": set(),
    "settings": {"setting_values"},
    "timers": set(),
    "shutdown": set(),
    "supervisor": set(),
    "version": {"settings"},
    "observability.log": set(),
    "observability.request_log": {"observability.log"},
    "db": {"settings", "timers"},
    "auth": {"db", "settings"},
    "api": {"auth", "db", "observability.request_log", "settings", "version"},
    "edge": {"api.payloads", "api.problems", "timers"},
    "tasks": {"api", "db", "settings"},
    "observability": {
        "api",
        "auth",
        "db",
        "edge",
        "observability.log",
        "observability.request_log",
        "settings",
        "version",
    },
    "app": {
        *("api", "auth", "db", "edge", "observability", "observability.log", "observability.request_log"),
        *("settings", "shutdown", "tasks"),
    },
    "server": {"app", "auth", "edge", "observability.log", "settings", "supervisor"},
    "dev": {"auth", "db", "server", "settings"},
    "report": {"db"},
    "__main__": {"app", "db", "dev", "report", "server", "settings"},
}
"""What a package or module imports besides its own modules. The longest prefix of a module's name decides."""


def imports(service: Path) -> Iterator[tuple[str, str]]:
    """Each import of one module of `service` by another, as (importer, imported) without the leading `service.`."""
    modules = {".".join(path.relative_to(service).with_suffix("").parts): path for path in service.rglob("*.py")}
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("service"):
                parts = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                parts = [alias.name for alias in node.names]
            else:
                assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module} has a relative import"
                continue
            for name in (part.removeprefix("service.") for part in parts if part.startswith("service.")):
                for imported in (name, name.rpartition(".")[0], f"{name.rpartition('.')[0]}.__init__"):
                    if imported in modules:
                        yield module.removesuffix(".__init__"), imported.removesuffix(".__init__")
                        break


def layer(module: str) -> str:
    while module not in LAYERS:
        module = module.rpartition(".")[0]
        assert module, "a module of service/ that LAYERS does not name"
    return module


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def against_the_layers(service: Path) -> list[tuple[str, str]]:
    """The imports that LAYERS does not allow."""
    return [
        (importer, imported)
        for importer, imported in imports(service)
        if not any(within(imported, package) for package in (layer(importer), *LAYERS[layer(importer)]))
    ]


def circle(service: Path) -> list[str]:
    """The modules of an import circle, the first of them at the end again; empty if there is none."""
    graph = TopologicalSorter[str]()
    for importer, imported in imports(service):
        graph.add(importer, imported)
    try:
        graph.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_imports_follow_the_layers() -> None:
    assert len(list(imports(ROOT / "service"))) > 150
    assert against_the_layers(ROOT / "service") == [], (
        "docs/architecture.md does not allow these imports (importer, imported): move the code to a package that may "
        "import it, or change LAYERS and the page"
    )


def test_layers_allow_no_import_that_no_module_has() -> None:
    used = {(layer(importer), imported) for importer, imported in imports(ROOT / "service")}
    unused = [
        (package, allowed)
        for package, may_import in LAYERS.items()
        for allowed in may_import
        if not any(importer == package and within(imported, allowed) for importer, imported in used)
    ]
    assert unused == [], "remove these from LAYERS, and from the docstring of the package (importer, imported)"


def test_imports_have_no_circle() -> None:
    assert circle(ROOT / "service") == []


def write(service: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (service / name).parent.mkdir(exist_ok=True)
        (service / name).write_text(text)


@pytest.mark.parametrize(
    ("importer", "text", "imported"),
    [
        ("db.pool", "from service.api.problems import Problem", "api.problems"),
        ("api.endpoint", "from service.tasks import query", "tasks.query"),
        ("api.endpoint", "def f():\n    import service.tasks.query", "tasks.query"),
        ("edge.cycle", "from service.api.endpoint import Request", "api.endpoint"),
        ("tasks.list", "from service.app import ROUTES", "app"),
        ("app", "from service.dev.command import dev", "dev.command"),
        ("observability.log", "from service.settings import ROOT", "settings"),
    ],
)
def test_import_against_the_layers_is_found(tmp_path: Path, importer: str, text: str, imported: str) -> None:
    files = {f"{name.replace('.', '/')}.py": text for name, text in ((imported, ""), (importer, text))}
    write(tmp_path, files)

    assert against_the_layers(tmp_path) == [(importer, imported)]


def test_circle_of_type_checking_imports_is_found(tmp_path: Path) -> None:
    checking = "if TYPE_CHECKING:\n    from service.db.database import Database"
    write(tmp_path, {"db/pool.py": checking, "db/database.py": "from service.db.pool import Pool"})

    assert set(circle(tmp_path)) == {"db.pool", "db.database"}
