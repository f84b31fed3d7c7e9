# Every target prepares its own part of .venv once; later runs only look at a stamp file.
#
#   make demo     load real films into a real PostgreSQL and put the library through its paces; ARGS="..." is passed on
#   make test     make check, then all tests on two processes
#   make check    formatting, lint, both type checkers, import contracts
#   make bench    client CPU of trioorm and its peers on the same operations, interleaved; ARGS="--workload get --against asyncpg"
#   make bench-growth   what a row, a task, a column, a level of relations costs as there are more of them
#   make bench-quick    the same for psycopg and asyncpg on five workloads, in under three minutes
#   make storm    minutes of cancellations, crashes and frozen servers under load, judged by bars; ARGS="--cancellations 2000 --crashes 2",
#                 beside others: ARGS="--against psycopg_pool --against asyncpg --cancellations 5000 --crashes 2 --limit-seconds 120"
#   make docs     build the documentation into docs/_build/html
#   make clean    remove .venv and everything built
#
# PYTHON names the interpreter to build .venv with, 3.11 or newer: make test PYTHON=python3.12

PYTHON ?= python3
WORKERS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
SOURCES := trioorm tests $(wildcard examples benchmarks)

# pyright would otherwise ask the package index for a newer version of itself on every run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: demo test check bench bench-growth bench-quick storm docs clean

demo: $(VENV)/ready-demo
	$(BIN)/python -m examples.films $(ARGS)

test: check $(VENV)/ready-test
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal $(ARGS)

check: $(VENV)/ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/ready-bench
	$(BIN)/python -m benchmarks.speed $(ARGS)

bench-growth: $(VENV)/ready-bench
	$(BIN)/python -m benchmarks.speed.growth

bench-quick: $(VENV)/ready-bench
	$(BIN)/python -m benchmarks.speed --quick $(ARGS)

storm: $(VENV)/ready-storm
	$(BIN)/python -m benchmarks.storm --figures docs/storm-figures.md $(ARGS)
	$(BIN)/python -m benchmarks.storm.retries
	$(BIN)/python -m benchmarks.storm.mutations
	TRIOORM_TEST_EXAMPLES=10 $(BIN)/python -m pytest --numprocesses=$(WORKERS) --timeout=3600 \
		tests/transaction/test_programs.py tests/transaction/test_schedules.py \
		tests/compiler/test_generated.py tests/database/test_semantics.py tests/database/test_mixing.py

docs: $(VENV)/ready-docs
	$(BIN)/sphinx-build --builder html --fail-on-warning --keep-going --nitpicky docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:
	rm -rf $(VENV) docs/_build dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# One stamp for each set of extras. The install is editable, so only pyproject.toml makes it stale.
$(VENV)/ready-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		found=$$($(PYTHON) --version 2>/dev/null) || found="not found, or does not start"; \
		echo "trioorm needs Python 3.11 or newer, but '$(PYTHON)' is $$found." >&2; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
