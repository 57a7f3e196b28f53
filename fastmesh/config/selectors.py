"""Finding objects by label: AND of exact values, inside one namespace, without walking all objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


class LabelIndex(Generic[T]):
    def __init__(self) -> None:
        self._by_label: dict[tuple[str, str, str], list[tuple[Mapping[str, str], T]]] = {}
        self._by_namespace: dict[str, list[tuple[Mapping[str, str], T]]] = {}

    def add(self, namespace: str, labels: Mapping[str, str], value: T) -> None:
        entry = (labels, value)
        self._by_namespace.setdefault(namespace, []).append(entry)
        for name, text in labels.items():
            self._by_label.setdefault((namespace, name, text), []).append(entry)

    def select(self, namespace: str, selector: Mapping[str, str]) -> list[T]:
        """What has all labels of the selector, in the order of `add`; an empty selector selects the namespace."""
        candidates = self._by_namespace.get(namespace, [])
        for name, text in selector.items():
            named = self._by_label.get((namespace, name, text), [])
            if len(named) < len(candidates):
                candidates = named
        return [value for labels, value in candidates if selects(selector, labels)]
