"""Istio's standard metrics, one cell per set of labels and worker."""

from typing import Final

BOUNDS: Final[tuple[float, ...]]
LABELS: Final[tuple[str, ...]]
TCP_LABELS: Final[tuple[str, ...]]
FLAG_NAMES: Final[tuple[str, ...]]

class Series: ...
