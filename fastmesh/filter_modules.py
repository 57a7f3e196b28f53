"""Where the code of filters lies, and how it becomes objects with hooks.

The master finds the file of a module on `--filter-path` and reads it (`find`); it runs nothing of it. The text goes to
the workers inside the plan, and each of them runs it (`Loader`): so all workers run the code that was accepted, also
one that starts after the file was changed. Whatever else the module imports is found as always, the folders of
`--filter-path` last.

A configuration file alone can run no code: without `--filter-path` there are no filters, and with it only modules that
lie there; `os:system` is not to be had.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import inspect
import logging
import os
import stat
import sys
import threading
import types
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from fastmesh.errors import EXIT_CONFIG

log = logging.getLogger("fastmesh.filter")

HOOKS = {  # the hooks, and how many arguments they are called with
    "request_head": 1, "request_body": 2, "request_chunk": 3,
    "response_head": 2, "response_body": 3, "response_chunk": 4,
}  # fmt: skip


class FilterError(ValueError):
    """Code of a filter that cannot be had, or that gives no hooks. A start with it ends with `exit_code`."""

    exit_code = EXIT_CONFIG

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(f"{where}: {why}" if where else why)
        self.why = why


# ---- without running anything


def folder_complaint(folder: str) -> str:
    """Why this folder cannot be a --filter-path; nothing: an empty text."""
    try:
        mode = os.stat(folder).st_mode
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(mode):
        return f"{folder} is not a folder"
    if mode & stat.S_IWOTH:
        return f"everybody may write into {folder}, and what lies there is run; chmod o-w {folder}"
    return ""


def find(function: str, folders: Sequence[str]) -> tuple[str, bytes]:
    """The file of the module and its text, FilterError with what is wrong. Looks whether the function is there."""
    module, _, name = function.partition(":")
    if module.partition(".")[0] in {*sys.stdlib_module_names, "fastmesh"}:
        raise FilterError(f"{module} is a module of Python's or of fastmesh; rename yours")
    if not folders:
        raise FilterError(f"{module} is code, and none may be loaded: start the proxy with --filter-path FOLDER")
    for folder in folders:
        base = os.path.join(os.path.abspath(folder), *module.split("."))
        for file in (f"{base}.py", os.path.join(base, "__init__.py")):
            if os.path.isfile(file):
                with open(file, "rb") as opened:
                    source = opened.read()
                _look(source, file, name)
                return file, source
    raise FilterError(f"there is no {module.replace('.', '/')}.py in {', '.join(folders)}")


def _look(source: bytes, file: str, name: str) -> None:
    try:
        tree = ast.parse(source, file)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        raise FilterError(f"{file}:{line}: {getattr(error, 'msg', error)}") from None
    found = {word for node in ast.walk(tree) for word in _named(node)}
    if name not in found and "*" not in found:
        raise FilterError(f"{file} has no {name}")


def _named(node: ast.AST) -> Iterable[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        case ast.Name(ctx=ast.Store()):
            yield node.id


# ---- in a worker


class _Finder(importlib.abc.MetaPathFinder):
    """The packages of filters are those of --filter-path, whatever else has their names."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = list(folders)
        self.names: set[str] = set()

    def find_spec(self, name: str, path: Any, target: types.ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, self.folders) if path is None and name in self.names else None


class Loader:
    """Objects with hooks, one a filter. A filter whose code and `config` are as they were keeps its object.

    `prepare` runs code of modules and may take long: call it in a thread. `load` calls factories, on the loop.
    `commit` says that what was loaded since `begin` is what runs.
    """

    def __init__(self, folders: Iterable[str]) -> None:
        self._finder = _Finder([os.path.abspath(folder) for folder in folders])
        self._lock = threading.Lock()
        self._modules: dict[str, tuple[bytes, types.ModuleType]] = {}
        self._kept: dict[str, tuple[object, object]] = {}
        self._fresh: dict[str, tuple[object, object]] = {}

    def begin(self) -> None:
        self._fresh = {}

    def commit(self) -> None:
        self._kept = self._fresh

    def prepare(self, plans: Iterable[Mapping[str, Any]]) -> None:
        """Run the modules that are new or changed. FilterError when one of them fails."""
        with self._lock:
            self._prepare(plans)

    def _prepare(self, plans: Iterable[Mapping[str, Any]]) -> None:
        if self._finder not in sys.meta_path:
            sys.meta_path.insert(0, self._finder)
            sys.dont_write_bytecode = True  # the folders are watched
            sys.path.extend(folder for folder in self._finder.folders if folder not in sys.path)
        for plan in plans:
            name = plan["function"].partition(":")[0]
            known = self._modules.get(name)
            if known is None or known[0] != plan["source"]:
                try:
                    self._modules[name] = (plan["source"], self._run(name, plan["file"], plan["source"]))
                except BaseException as error:
                    raise _failed(plan, f"the import of {name}", error) from error

    def load(self, plan: Mapping[str, Any]) -> object:
        key = (plan["function"], plan["config"], plan["source"])
        for held in (self._fresh, self._kept):
            found = held.get(plan["name"])
            if found is not None and found[0] == key:
                self._fresh[plan["name"]] = found
                return found[1]
        self.prepare([plan])
        module, _, name = plan["function"].partition(":")
        try:
            factory = getattr(self._modules[module][1], name)
            made = _with_hooks(factory(plan["config"]), plan["function"])
        except BaseException as error:
            raise _failed(plan, plan["function"], error) from error
        self._fresh[plan["name"]] = (key, made)
        return made

    def _run(self, name: str, file: str, source: bytes) -> types.ModuleType:
        """The module of this very text; the last one of the name stays with those who have it."""
        parent, _, last = name.rpartition(".")
        self._finder.names.add(name.partition(".")[0])
        package = importlib.import_module(parent) if parent else None
        folders = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        before = sys.modules.get(name)
        sys.modules[name] = module
        try:
            exec(compile(source, file, "exec"), module.__dict__)
        except BaseException:
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
            raise
        if package is not None:
            setattr(package, last, module)
        return module


def _with_hooks(made: object, function: str) -> object:
    """`made` as an object whose hooks can be called as they will be; functions in a dict will do as well."""
    if isinstance(made, Mapping):
        made = types.SimpleNamespace(**made)
    if inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        raise TypeError(f"{function} is async; only hooks may be")
    found = {name: getattr(made, name) for name in HOOKS if getattr(made, name, None) is not None}
    if not found:
        raise TypeError(f"{function} answered {type(made).__name__} without a hook; hooks are {', '.join(HOOKS)}")
    for whole, pieces in (("request_body", "request_chunk"), ("response_body", "response_chunk")):
        if whole in found and pieces in found:
            raise TypeError(f"{function} has {whole} and {pieces}; a body comes as a whole or in pieces, keep one")
    for name, hook in found.items():
        try:
            inspect.signature(hook).bind(*range(HOOKS[name]))
        except TypeError as error:
            raise TypeError(f"{name} is called with {HOOKS[name]} arguments: {error}") from None
        except ValueError:
            pass  # code without a signature
    return made


def _failed(plan: Mapping[str, Any], what: str, error: BaseException) -> FilterError:
    log.error("filter %s: %s failed", plan["name"], what, exc_info=error)
    place = plan["origin"]
    where = f"{place['file']}:{place['line']}: Filter/{place['name']}: spec.function"
    return FilterError(f"{what} failed: {type(error).__name__}: {error}", where)
