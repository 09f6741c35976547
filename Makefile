# `make demo` and `make test` set up .venv first where it is missing; `make gpu` sets up .venv-gpu.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU := .venv-gpu
CODE := src tests examples benchmarks docs

.PHONY: help setup demo test format lint types imports gpu

help:
	@echo "make demo    distil a digit classifier into a small one; then open demo/report.html"
	@echo "make test    the whole check: format, lint, types, import contract, tests on all cores"
	@echo "make gpu     on a machine with an NVIDIA GPU: the tests and benchmarks that need one"
	@echo "make format  format the code"

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

# One worker for each core; those that run out of tests take some of the others'.
test: lint types imports
	$(BIN)/python -m pytest -n auto --dist worksteal

# A torch with CUDA that $(PYTHON) already has is used; otherwise one is installed.
gpu:
	$(PYTHON) benchmarks/gpu_setup.py $(GPU)
	$(GPU)/bin/python -m pytest -m cuda tests/cuda
	$(GPU)/bin/python benchmarks/gpu.py
