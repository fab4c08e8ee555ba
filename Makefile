# Everything a fresh machine needs: `make quickstart` runs the quickstart recipe, `make test` the tests.
# Each makes .venv and installs what is missing at the versions of constraints.txt first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow check clean

quickstart: $(VENV)/quickstart.installed
	$(BIN)/embedkit run recipes/quickstart.yaml

# a thread for each worker: more of them wait for each other
test: $(VENV)/dev.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# with the tests that take minutes each, as before a release
test-slow: $(VENV)/dev.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --slow --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# what a contributor runs before a commit; .ci/run does the same and more
check: $(VENV)/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(f"embedkit needs Python 3.11 or newer, this is {sys.version.split()[0]}; try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# torch first: with it there, nothing else asks for another build of it
$(VENV)/quickstart.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,quickstart]'
	touch $@

$(VENV)/dev.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,quickstart,dev]'
	touch $@

clean:
	rm -rf $(VENV) .embedkit runs
