# Everything runs in .venv, which the first target that needs it builds. `make help` lists the targets.

PYTHON ?= python3
DATA ?= ../shared/data
SEEDS ?= 5
LINES ?= 200000 2000000
FUZZ_S ?= 600

BIN := .venv/bin
STAMP := .venv/.installed

# torch with more threads than cores is slower than with one, and the tests run in two processes. A file stays in one
# process, so that what it fits for all its tests is fitted once.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# What `make bench` measures: all of it needs the public data sets, which a fresh clone has not; README.md says where
# they come from.
PROTOCOLS ?= $(shell test -d "$(DATA)/hdfs" && echo all || echo synthetic service)

.PHONY: help demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    run the whole method on a simulated service with known faults; leaves demo-output/"
	@echo "make test    every check: style, types, layers of imports, tests, doctests"
	@echo "make lint    style, types and layers only"
	@echo "make bench   measure speed, detection, kinds, parsing, and fuzz the readers; rows go to benchmarks/results/ (DATA=$(DATA) SEEDS=$(SEEDS) LINES=...)"
	@echo "make clean   remove .venv, caches and demo-output"

demo: $(STAMP)
	$(BIN)/enhanced-deeplog demo

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(TEST)

bench: $(STAMP)
	@test -d "$(DATA)/hdfs" || echo "No $(DATA)/hdfs: only what the project makes itself is measured. DATA=DIR says where the logs are."
	$(BIN)/python benchmarks/throughput.py --data "$(DATA)" --lines $(LINES)
	$(BIN)/python benchmarks/fuzz_readers.py --seconds $(FUZZ_S)
	$(BIN)/enhanced-deeplog evaluate $(PROTOCOLS) --data "$(DATA)" --seeds $(SEEDS) --output benchmarks/results/evaluation.jsonl

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "Expected Python 3.11, 3.12 or 3.13 as $(PYTHON); there is none."; \
		echo "Install it (Debian: apt install python3 python3-venv), or name it: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "Expected Python 3.11, 3.12 or 3.13; $(PYTHON) is $$("$(PYTHON)" --version 2>&1)."; \
		echo "Name another one: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv --clear .venv || { \
		rm -rf .venv; \
		echo "$(PYTHON) can't make a virtual environment. On Debian: apt install python3-venv"; exit 1; }
	@echo "Installing into .venv; this takes a minute or two."
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $(STAMP)
