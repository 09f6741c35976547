# The two commands: `make demo` and `make test`. Each sets up .venv first, if it is not there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CODE := src tests examples benchmarks docs

.PHONY: help setup demo test format lint types imports

help:
	@echo "make demo    a teacher teaches digits to a small student; then open demo/report.html"
	@echo "make test    the whole check: format, lint, types, import contract, tests"
	@echo "make format  put the code into shape"

setup: $(VENV)/package

$(VENV)/package: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev: $(VENV)/package
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/tutelage demo

format: $(VENV)/dev
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: $(VENV)/dev
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

types: $(VENV)/dev
	$(BIN)/pyright

imports: $(VENV)/dev
	$(BIN)/lint-imports

test: lint types imports
	$(BIN)/python -m pytest
