"""Compiled; no names for Python: see the .pxd under ext/."""
