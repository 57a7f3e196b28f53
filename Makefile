# `make demo` and `make test` do all the set-up on a fresh machine. `make help` lists the rest.

VENV ?= .venv
PY := $(VENV)/bin/python
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
SOURCES := $(shell find ext -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h')

# Stamps: what was done to this environment. A second run does nothing.
MADE := $(VENV)/.fastmesh-made
INSTALLED := $(VENV)/.fastmesh-installed
BUILT := $(VENV)/.fastmesh-built
DEBUG := $(VENV)/.fastmesh-debug

export FASTMESH_BUILD_JOBS ?= $(JOBS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help build demo peers fuzz test test-slow bench lint format debug clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' Makefile | sed 's/|/                    /; s/^\(.\{20\}\) */\1/'

build: $(BUILT) ## Make .venv, compile, install in place (a second run does nothing)

demo: build ## Run the shop with traffic until Ctrl-C; CHECK=1: every scenario once, then a JSON summary
	$(VENV)/bin/fastmesh demo $(if $(CHECK),--check) $(ARGS)

peers: build ## Get the programs that tests speak with; a test without its program is skipped
	tools/peers.sh $(PY)

fuzz: build ## Fuzz the parsers and whole connections for TIME=60 seconds in all; ARGS='hpack' chooses targets
	$(PY) -m tests.fuzz.run $(or $(TIME),60) $(ARGS)

test: build ## Run the tests; ARGS='-k reload' chooses
	$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

test-slow: build ## Run the tests that take minutes
	$(PY) -m pytest -m slow $(ARGS)

bench: build ## Run nginx, HAProxy and Envoy beside fastmesh; ARGS=--quick only shows that it works
	$(PY) bench/run.py $(ARGS)

lint: build ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: build ## Write the style that `make lint` wants
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

debug: $(INSTALLED) ## Compile for a debugger (-O1 -g, FASTMESH_DEBUG defined); the next `make build` is as usual
	touch $(DEBUG)
	rm -f $(BUILT)
	FASTMESH_DEBUG=1 $(PY) setup.py -q build_ext --inplace --force

clean: ## Remove what was built, and .venv
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find fastmesh -name '*.so' -delete
	find fastmesh ext tests bench -name __pycache__ -prune -exec rm -rf {} +

$(MADE): tools/setup.sh
	tools/setup.sh $(VENV)
	touch $@

# Build requirements first: the package is then built by them, in place, not in an environment of its own.
$(INSTALLED): $(MADE) pyproject.toml setup.py fastmesh/__init__.py
	$(PY) -m pip install -q 'setuptools>=77' 'Cython~=3.3'
	FASTMESH_PYTHON_ONLY=1 $(PY) -m pip install -q --no-build-isolation --editable '.[dev]'
	touch $@

$(BUILT): $(INSTALLED) $(SOURCES)
	$(PY) setup.py -q build_ext --inplace $(if $(wildcard $(DEBUG)),--force)
	rm -f $(DEBUG)
	touch $@
