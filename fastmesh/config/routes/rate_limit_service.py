"""The configuration of envoyproxy/ratelimit, as it lies in ConfigMaps: a domain, and a tree of descriptors.

The most specific line counts: at each level a key with this value before a key alone, which counts each value by
itself. https://github.com/envoyproxy/ratelimit#configuration
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fastmesh.config.place import Path
from fastmesh.config.read.envoy_patches import Action
from fastmesh.config.read.load import load_text
from fastmesh.config.read.rest import Rest
from fastmesh.config.resource import Resource
from fastmesh.errors import Problem
from fastmesh.model.kubernetes import ConfigMap

PERIODS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
Trait = tuple[str, str, str, str]


@dataclass(slots=True)
class Node:
    """One descriptor of the tree."""

    key: str
    value: str
    requests: int = 0
    period: int = 0
    shadow: bool = False
    children: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Way:
    """How a descriptor of a request leads to a line: what has to hold, and what is counted apart."""

    name: str
    requests: int
    period: int
    shadow: bool
    values: list[tuple[Action, str, bool]]  # action, value, whether it has to be that value or anything else
    apart: list[Action]


class Domains:
    """Every domain in the ConfigMaps of a configuration."""

    def __init__(self, config_maps: Iterable[Resource[ConfigMap]], problems: list[Problem]) -> None:
        self.trees: dict[str, list[Node]] = {}
        for item in config_maps:
            for name, text in item.spec.data.items():
                if "domain" in text and "descriptors" in text:
                    self._read(item, name, text, problems)

    def _read(self, item: Resource[ConfigMap], name: str, text: str, problems: list[Problem]) -> None:
        place: Path = ("data", name)

        def tell(path: Path, message: str) -> None:
            inside = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).strip(".")
            problems.append(item.problem(place, f"{inside}: {message}", "warning", "unserved"))

        found: list[Problem] = []
        for document in load_text(text, name, found):
            root = Rest(document.root, (), tell)
            if root.bad or not root.has("domain"):
                continue
            domain = root.text("domain")
            self.trees[domain] = [_node(each) for each in root.items("descriptors")]
            root.end()
        problems += [item.problem(place, f"is not YAML: {each.message}", "warning", "unserved") for each in found]

    def ways(self, domain: str, actions: Sequence[Action]) -> Iterator[Way]:
        yield from _ways(self.trees.get(domain, []), list(actions), f"{domain}", [], [])


def _node(rest: Rest) -> Node:
    node = Node(rest.text("key"), rest.text("value"))
    if node.value.endswith("*"):
        rest.tell((*rest.path, "value"), "a value with * is compared as it is written")
    limit = rest.inside("rate_limit")
    if not limit.flag("unlimited") and (limit.has("unit") or limit.has("requests_per_unit")):
        unit = limit.text("unit", "second").lower()
        node.requests, node.period = limit.number("requests_per_unit"), PERIODS.get(unit, 0)
        if not node.period or not node.requests:
            limit.tell((*limit.path, "unit"), "needs second, minute, hour or day, and requests_per_unit above 0")
    limit.end()
    node.shadow = rest.flag("shadow_mode")
    rest.take("detailed_metric")
    node.children = [_node(each) for each in rest.items("descriptors")]
    rest.end()
    return node


def _ways(
    nodes: list[Node], actions: list[Action], name: str, values: list[tuple[Action, str, bool]], apart: list[Action]
) -> Iterator[Way]:
    action, rest = actions[0], actions[1:]
    named = [node for node in nodes if node.key == action.key and node.value]
    for node in nodes:
        if node.key != action.key:
            continue
        if not action.kind and node.value and node.value != action.value:
            continue  # its value is known, and is another one
        if not action.kind and not node.value and any(each.value == action.value for each in named):
            continue
        now, own, step = list(values), list(apart), f"{name}/{node.key}"
        if node.value:
            step += f"={node.value}"
            now += [(action, node.value, True)] if action.kind else []
        elif action.kind:
            now += [(action, each.value, False) for each in named]
            own.append(action)
        else:
            step += f"={action.value}"
        if rest:
            yield from _ways(node.children, rest, step, now, own)
        elif node.requests and node.period:
            yield Way(step, node.requests, node.period, node.shadow, now, own)
