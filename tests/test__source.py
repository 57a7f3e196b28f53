"""The house rules that a machine can see: who may import whom, what may be in git, stubs, sizes, style, types, docs.

A rule's exceptions stand in the tables below, each with its reason; a new one is a line that somebody reads.
"""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest

import fastmesh.cli
from fastmesh.cli.options import rows
from fastmesh.config.store import read
from fastmesh.server import units
from fastmesh.server.settings import Http2, Limits, Overload, ProxySettings, Setting, Timeouts

ROOT = Path(__file__).resolve().parents[1]

# What a folder of the data plane may cimport besides itself: base <- wire <- guard <- route <- net <- proxy.
CORE_LAW = {
    "base": set(),
    "wire": {"base"},
    "guard": {"base"},
    "route": {"base", "wire", "guard"},
    "net": {"base", "wire", "route"},
    "proxy": {"base", "wire", "guard", "route", "net"},
}

# What a package may import besides itself, the compiled core, and the bare `fastmesh` (its version).
PYTHON_LAW = {
    "errors": set(),
    "model": set(),
    "filters": set(),  # what users import
    "filter_modules": {"errors"},
    "config": {"errors", "model"},
    "discovery": {"errors"},
    "security": {"errors"},  # plain values in, plain values out: it knows no configuration
    "telemetry": {"config.plan", "server.words"},  # what runs, and the names of the arena's words
    "server": {"errors", "config", "discovery", "security", "telemetry", "filter_modules"},
    "demo": {"errors"},  # it uses the proxy as everybody does: through its command
    "cli": {"errors", "filter_modules", "model", "config", "security", "server", "demo"},
    "__main__": {"cli"},
}

# Inside `config`: what stands left knows nothing of what stands right. Files outside of folders are the words that all
# use, but for `store` (between `check` and `credentials`), and `findings`, `startup` and `compile`, which come last.
CONFIG_LAW = [
    "read",
    "check",
    "store",
    "analysis",
    "credentials",
    "services",
    "routes",
    "listeners",
    "status",
    "findings",
    "startup",
    "compile",
    "describe",
]

MAY_IMPORT_CORE = {
    "fastmesh.server.worker": "runs the data plane",
    "fastmesh.server.assemble": "makes the shared arena, and checks that the core is there before the first socket",
    "fastmesh.filters": "the types that users' hooks are given",
    "fastmesh.cli.explain": "asks the compiled snapshot, not the YAML",
    "fastmesh.cli.explain_tcp": "asks it of connections",
    "fastmesh.telemetry.istio": "labels and buckets of the series that the core writes",
}

NO_HEADER = {
    "proxy/explain.pyx": "called from Python only",
    "proxy/explain_tcp.pyx": "called from Python only",
}
PROBE = "_probe"  # the end of the names of modules that show the core to tests; called from Python only

LONGEST_FILE = 600
LONGEST_FUNCTION = 60
LONG_FUNCTIONS: dict[str, str] = {}  # "path::name": why it is longer

GENERATED = re.compile(r"\.(c|so|o|html|whl)$")
HAND_WRITTEN_C = ("bench/macro/", "tests/fuzz/driver.c")  # what loads and answers in the bench; the fuzzer's main


def tracked(*patterns: str) -> list[Path]:
    """Files that are in git, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def assert_none(wrong: Iterable[str], rule: str) -> None:
    found = sorted(wrong)
    assert not found, f"{rule}:\n  " + "\n  ".join(found)


def cycles(graph: dict[str, set[str]]) -> Iterator[str]:
    """Each circle that a walk meets, as `a -> b -> a`."""
    done: set[str] = set()

    def walk(node: str, road: list[str]) -> Iterator[str]:
        if node in road:
            yield " -> ".join([*road[road.index(node) :], node])
        elif node not in done:
            for after in sorted(graph.get(node, ())):
                yield from walk(after, [*road, node])
            done.add(node)

    for start in sorted(graph):
        yield from walk(start, [])


# --- the data plane -------------------------------------------------------------------------------------------------

CIMPORT = re.compile(r"^\s*(?:from (fastmesh[\w.]*) (c?import)|(c?import) (fastmesh[\w.]*))", re.MULTILINE)


def core_imports(path: Path) -> list[str]:
    return [found[1] or found[4] for found in CIMPORT.finditer(path.read_text())]


def core_sources() -> list[Path]:
    return [path for path in tracked("ext/*.pyx", "ext/*.pxd", "ext/*.pxi") if path.name != "__init__.pxd"]


def core_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "ext").with_suffix("").parts)


def test_core_imports_flow_one_way() -> None:
    wrong = []
    for path in core_sources():
        layer = path.relative_to(ROOT / "ext/fastmesh").parts[1]
        for name in core_imports(path):
            parts = name.split(".")
            if parts[:2] != ["fastmesh", "core"]:
                wrong.append(f"{shown(path)} imports {name}, which is Python")
            elif parts[2] != layer and parts[2] not in CORE_LAW[layer]:
                wrong.append(f"{shown(path)} ({layer}) imports {name}")
    assert_none(wrong, "the core flows base <- wire <- guard <- route <- net <- proxy, and knows none of our Python")


def test_core_has_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    for path in core_sources():
        graph.setdefault(core_module(path), set()).update(set(core_imports(path)) - {core_module(path)})
    assert_none(cycles(graph), "modules of the core import each other in a circle")


def test_every_module_of_the_core_has_a_header() -> None:
    without = {
        shown(path).removeprefix("ext/fastmesh/core/")
        for path in tracked("ext/*.pyx")
        if not path.with_suffix(".pxd").exists() and not path.stem.endswith(PROBE)
    }
    assert_none(without - set(NO_HEADER), "a .pyx without a .pxd that tells its story")
    assert_none(set(NO_HEADER) - without, "listed in NO_HEADER, but it has a header or is gone")


# --- Python ---------------------------------------------------------------------------------------------------------


def python_module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imports(tree: ast.AST, at_import: bool = False) -> Iterator[str]:
    """Names of ours that are imported, by statement or (as text for importlib) by name; with `at_import` only those
    that run when the module is imported.
    """
    for node in ast.iter_child_nodes(tree):
        if at_import and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(node)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and not at_import and is_module(node.value):
            yield node.value
        yield from imports(node, at_import)


def is_ours(name: str) -> bool:
    return name.split(".")[0] == "fastmesh"


def is_module(text: object) -> bool:
    if not isinstance(text, str) or not re.fullmatch(r"fastmesh(\.\w+)+", text):
        return False
    return text.startswith("fastmesh.core.") or (ROOT / text.replace(".", "/")).with_suffix(".py").exists()


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def test_python_imports_flow_one_way() -> None:
    wrong = []
    for path in tracked("fastmesh/*.py"):
        module = python_module(path)
        package = module.split(".")[1] if "." in module else "fastmesh"
        for name in imports(parsed(path)):
            target = name.removeprefix("fastmesh").removeprefix(".")
            if target.split(".")[0] in (package, "core", "__version__", ""):
                continue
            if not any((target + ".").startswith(allowed + ".") for allowed in PYTHON_LAW.get(package, ())):
                wrong.append(f"{module} imports {name}")
    assert_none(wrong, "not allowed by PYTHON_LAW")


def test_the_steps_of_config_follow_each_other() -> None:
    wrong = []
    for path in tracked("fastmesh/config/*.py"):
        module = python_module(path)
        own = step_of_config(module)
        for name in imports(parsed(path), at_import=True):
            if name.startswith("fastmesh.config.") and step_of_config(name) > own:
                wrong.append(f"{module} imports {name}")
    assert_none(wrong, " <- ".join(CONFIG_LAW))


def step_of_config(name: str) -> int:
    """0: a word that all use."""
    part = [*name.split("."), "", ""][2]
    return CONFIG_LAW.index(part) + 1 if part in CONFIG_LAW else 0


def test_python_has_no_import_cycles() -> None:
    modules = {python_module(path): path for path in tracked("fastmesh/*.py")}

    def known(name: str) -> str:
        return name if name in modules else name.rpartition(".")[0]

    graph = {
        module: {known(name) for name in imports(parsed(path), at_import=True)} & set(modules) - {module}
        for module, path in modules.items()
    }
    assert_none(cycles(graph), "modules import each other in a circle")


def test_few_python_files_import_the_core() -> None:
    importing = {
        python_module(path)
        for path in tracked("fastmesh/*.py")
        if any(name.startswith("fastmesh.core.") for name in imports(parsed(path)))
    }
    assert_none(importing - set(MAY_IMPORT_CORE), "imports the core, and is not in MAY_IMPORT_CORE")
    assert_none(set(MAY_IMPORT_CORE) - importing, "listed in MAY_IMPORT_CORE, but does not import the core")


# --- stubs ----------------------------------------------------------------------------------------------------------


def test_modules_that_python_imports_have_stubs() -> None:
    wanted = set()
    for path in itertools.chain(tracked("fastmesh/*.py"), tracked("tests/*.py")):
        for name in imports(parsed(path)):
            parts = name.split(".")
            if parts[:2] == ["fastmesh", "core"] and len(parts) > 3:
                wanted.add("/".join(parts[:5] if (ROOT / "/".join(parts[:4])).is_dir() else parts[:4]))
    assert_none((f"{name}.pyi" for name in wanted if not (ROOT / f"{name}.pyi").exists()), "no stub")


@pytest.mark.parametrize("path", tracked("fastmesh/core/*.pyi"), ids=shown)
def test_stub_says_what_is_there(path: Path) -> None:
    module = importlib.import_module(python_module(path))
    wrong = []
    for node in parsed(path).body:
        for name in defined(node):
            if name.startswith("_"):
                continue  # a helper of the stub's own types
            if not hasattr(module, name):
                wrong.append(name)
            elif isinstance(node, ast.ClassDef):
                members = itertools.chain.from_iterable(defined(member) for member in node.body)
                wrong += [f"{name}.{member}" for member in members if not hasattr(getattr(module, name), member)]
    assert_none(wrong, f"in {shown(path)}, but not in the module (is it compiled? make build)")


def defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.ClassDef):
        return (
            []
            if any("Protocol" in ast.unparse(base) or "TypedDict" in ast.unparse(base) for base in node.bases)
            else [node.name]
        )
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [] if ast.unparse(node.annotation) == "TypeAlias" else [node.target.id]
    return []


# --- files ----------------------------------------------------------------------------------------------------------


def test_nothing_generated_is_in_git() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert_none(
        (name for name in listed if GENERATED.search(name) and not name.startswith(HAND_WRITTEN_C)),
        "generated or binary files in git",
    )


def test_files_are_short_or_say_why() -> None:
    long = []
    for path in tracked("*.py", "*.pyx", "*.pxd", "*.pxi"):
        lines = path.read_text().splitlines()
        if len(lines) > LONGEST_FILE and not any(f"over {LONGEST_FILE} lines" in line.lower() for line in lines[:40]):
            long.append(f"{shown(path)}: {len(lines)}")
    assert_none(
        long, f"over {LONGEST_FILE} lines: split it, or say why not (`Over {LONGEST_FILE} lines: ...`) at its top"
    )


def test_functions_are_short() -> None:
    long = {}
    for path in tracked("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long[f"{shown(path)}::{node.name}"] = lines
    assert_none((f"{name}: {long[name]}" for name in set(long) - set(LONG_FUNCTIONS)), f"over {LONGEST_FUNCTION} lines")
    assert_none(set(LONG_FUNCTIONS) - set(long), "listed in LONG_FUNCTIONS, but short or gone")


def test_files_name_no_machine_and_no_registry() -> None:
    places = [Path.home(), ROOT, ROOT.parent / "shared"]
    words = "|".join(re.escape(str(place)) for place in places if len(place.parts) > 1)
    words += r"|/home/[a-z]\w+/|/Users/\w+/|\bindex[-_]url\b" + "|".join(["", *map(re.escape, index_hosts())])
    wrong = []
    for path in tracked():
        if path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        wrong += [f"{shown(path)}: {found[0]}" for found in re.finditer(words, text)]
    assert_none(wrong, "a path of one machine, or a registry that only this machine uses")


def index_hosts() -> list[str]:
    """Hosts that pip is told to use here; the public one may be named."""
    told = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    told += " ".join(value for name, value in os.environ.items() if name.endswith("INDEX_URL"))
    return sorted(set(re.findall(r"https?://(?:[^/@\s]*@)?([\w.-]+)", told)) - {"pypi.org"})


# --- style and types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_style_and_types(command: str) -> None:
    told = subprocess.run([sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


# --- documents ------------------------------------------------------------------------------------------------------

DOCUMENTS = tracked("*.md")
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(path: Path) -> Iterator[list[str]]:
    """Commands in the shell blocks of a document, as words; lines that end in a backslash are one."""
    for block in BLOCK.findall(path.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words:
                yield words


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_documents_name_commands_that_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    wrong = []
    for words in commands(path):
        if words[0] == "make":
            wrong += [
                f"make {w}" for w in words[1:] if "=" not in w and not re.search(rf"^{w}:", makefile, re.MULTILINE)
            ]
        elif "fastmesh" in words:
            wrong += unknown(words[words.index("fastmesh") + 1 :])
    assert_none(wrong, f"{shown(path)} shows what does not exist")


def unknown(words: list[str]) -> Iterator[str]:
    group = fastmesh.cli.main
    context = click.Context(group)
    command = group.get_command(context, words[0]) if words and not words[0].startswith("-") else group
    if command is None:
        yield f"fastmesh {words[0]}"
        return
    if isinstance(command, click.Group) and words[1:] and not words[1].startswith("-"):
        command, words = command.get_command(context, words[1]), words[1:]
        if command is None:
            yield f"fastmesh ... {words[0]}"
            return
    known = {name for p in command.get_params(context) for name in [*p.opts, *p.secondary_opts]} | {"-h", "--help"}
    yield from (
        f"{command.name} {word}"
        for word in words
        if word.startswith("-") and word != "-" and word.split("=")[0] not in known
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_documents_link_to_files_that_exist(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text())
    assert_none((link for link in links if not (path.parent / link).exists()), f"{shown(path)} links to nothing")


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_documents_show_objects_that_are_valid(path: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        assert_none(map(str, read([str(file)]).errors), f"{shown(path)}, YAML block {number + 1}")


def test_hello_is_valid_and_says_nothing() -> None:
    result = read([str(ROOT / "docs/hello.yaml")])
    assert result.ok
    assert result.problems == []


def test_every_flag_of_the_proxy_is_documented() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    flags = [name for row in rows(ProxySettings) for name in row.flag.name.split("/")]
    assert_none((flag for flag in flags if f"`{flag}`" not in text), "not in docs/commands.md")


@pytest.mark.parametrize("group", [Http2, Limits, Overload, Timeouts])
def test_every_limit_is_documented_with_its_default(group: type[Setting]) -> None:
    lines = (ROOT / "docs/limits.md").read_text().splitlines()
    show = {"duration": units.show_duration, "size": units.show_size, "": str}
    wrong = []
    for row in rows(group):
        fitting = [line for line in lines if f"`{row.flag.name}`" in line and line.startswith("|")]
        if not any(re.search(rf"\| {re.escape(show[row.flag.unit](row.default))}\b", line) for line in fitting):
            wrong.append(f"{row.flag.name} {show[row.flag.unit](row.default)}")
    assert_none(wrong, "not in a table of docs/limits.md")
