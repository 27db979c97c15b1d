# Everything a checkout needs, with Python >= 3.11 and make alone: `make help` lists it.

PYTHON ?= python3
# What pip is told; `make bench PIP_FLAGS=` shows its progress bars.
PIP_FLAGS ?= --quiet
# More arguments for the command of a target: `make test ARGS='-k lab -x'`.
ARGS ?=
# Tests run in so many processes side by side; `make test WORKERS=0` runs them in one.
WORKERS ?= logical
# A process that is done takes over what others have left.
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A stamp is newer than pyproject.toml where what it stands for is installed.
INSTALLED := $(VENV)/.installed
INSTALLED_TEST := $(VENV)/.installed-test
INSTALLED_LINT := $(VENV)/.installed-lint
INSTALLED_DOCS := $(VENV)/.installed-docs
# ONNX Runtime for browsers.
RUNTIME := zoo/page/onnxruntime/ort-wasm-simd-threaded.wasm

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips in one environment would get into each other's way.
.NOTPARALLEL:
.PHONY: help bench test test-long lint format docs page-runtime perf clean

help: ## list these targets
	@echo 'usage: make TARGET [PYTHON=python3.12] [ARGS=...]'
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

bench: $(INSTALLED) ## install, then train and compare every colorizer on the embedded photographs
	$(BIN)/zoo bench --models all $(ARGS)

test: $(INSTALLED_TEST) ## install, then run the tests
	$(PYTEST) $(SIDE_BY_SIDE) $(ARGS)

test-long: $(INSTALLED_TEST) ## run the tests that take minutes: fresh environments, longer trainings
	$(PYTEST) -m long $(SIDE_BY_SIDE) $(ARGS)

lint: $(INSTALLED_TEST) $(INSTALLED_LINT) ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED_LINT) ## fix what ruff can fix, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The theme would print an advertisement for its successor.
docs: $(INSTALLED_DOCS) page-runtime ## build the documentation; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

page-runtime: $(RUNTIME) ## get ONNX Runtime for browsers, which zoo page needs; npm fetches it

$(RUNTIME): zoo/page/runtime.py | $(INSTALLED)
	$(BIN)/python -m zoo.page.runtime
	@touch $@

perf: $(INSTALLED_TEST) ## time the hot paths, beside the last time's; the JSON goes to .benchmarks
	$(PYTEST) benchmark/performance --benchmark-only --benchmark-storage=file://./.benchmarks \
		--benchmark-autosave $(if $(wildcard .benchmarks/*/*.json),--benchmark-compare) $(ARGS)

clean: ## remove caches and build products; keeps .venv, runs and .benchmarks
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -path './$(VENV)' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'The zoo needs Python 3.11 or later, and "$(PYTHON)" is not one.' \
			'Name another: make PYTHON=python3.12' >&2; \
		exit 1; }
	@echo 'creating $(VENV) ...'
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# An environment that something else made may lack pip.
$(INSTALLED): pyproject.toml | $(BIN)/python
	@$(PIP) --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	@echo 'installing the zoo and PyTorch (several GB, a few minutes the first time) ...'
	@$(PIP) install $(PIP_FLAGS) -e .
	@touch $@

# Where the interpreter went away (an upgrade of Python), the stamps stand for nothing.
ifneq ($(shell test -x $(BIN)/python || echo gone),)
.PHONY: $(INSTALLED)
endif

# pip leaves alone what is there already: an extra adds its own packages only.
$(INSTALLED_TEST) $(INSTALLED_LINT) $(INSTALLED_DOCS): $(VENV)/.installed-%: $(INSTALLED)
	@echo "installing what 'make $*' needs ..."
	@$(PIP) install $(PIP_FLAGS) -e '.[$*]'
	@touch $@
