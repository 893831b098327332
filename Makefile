# Everything a person does with a clone: run, test, check, fmt, bench, clean.
# `make run` needs Python 3.11 or newer with its venv module, and nothing else.

VENV ?= .venv
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$name"; break; }; done)
BIN := $(VENV)/bin
# Most of what the tests do is waiting for servers that were killed: two files at a time, in their own order: the
# files of few tests are those that take minutes, and would all come last.
JOBS ?= 2
REQUIREMENTS := setup.cfg pyproject.toml
# Tests ask CKAN's own harvester whether it understands the open data. That part of it runs without
# CKAN, which it names as a dependency and which is a server of many packages: setup.cfg cannot say so.
WITHOUT_DEPENDENCIES := 'ckanext-dcat >=2.4,<3'

.PHONY: run test check lint fmt bench clean
.DELETE_ON_ERROR:

run: $(VENV)/.run-installed
	@exec $(BIN)/tingbro up

test: $(VENV)/.dev-installed
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: lint test

lint: $(VENV)/.dev-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.dev-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev-installed
	$(BIN)/python -m benchmarks $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make the second `make run` start at once; they are renewed when the dependencies change.
$(VENV)/.run-installed: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev-installed: $(REQUIREMENTS) Makefile | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(WITHOUT_DEPENDENCIES)
	@touch $@ $(VENV)/.run-installed

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Tingbro needs Python 3.11 or newer, and none was found on the search path." >&2; \
		echo "Install it (Debian, Ubuntu: apt install python3 python3-venv), or name it: make run PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is not Python 3.11 or newer: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV) and installing what Tingbro needs; this takes a minute, once."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
