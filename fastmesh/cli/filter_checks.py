"""The code of filters, as far as `fastmesh validate` is asked to look at it."""

from __future__ import annotations

from collections.abc import Sequence

from fastmesh.config.resource import Resource
from fastmesh.errors import Problem
from fastmesh.filter_modules import FilterError, Loader, find
from fastmesh.model.filter import Filter


def filter_problems(written: Sequence[Resource[Filter]], folders: Sequence[str], *, run: bool) -> list[Problem]:
    """What is wrong with the code of these filters; with `run` it is imported, and the factories are called."""
    problems = []
    loader = Loader(folders)
    for item in written:
        try:
            file, source = find(item.spec.function, folders)
            if run:
                place = {"file": item.source.file, "line": item.line(("spec", "function")), "name": item.name}
                name = f"{item.namespace}/{item.name}"
                plan = {"name": name, "function": item.spec.function, "config": item.spec.config, "origin": place}
                loader.load({**plan, "file": file, "source": source})
        except FilterError as error:
            problems.append(item.problem(("spec", "function"), error.why, code="reference"))
    return problems
