"""`python -m fastmesh`."""

from fastmesh.cli import main

main()
