"""Hypothesis tests here run the same examples every time; FASTMESH_RANDOM=1 looks for new ones."""

import os

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if os.environ.get("FASTMESH_RANDOM") == "1" else "steady")
