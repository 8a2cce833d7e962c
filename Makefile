# flowpolicy: `make help` lists what can be made. Needs Python 3.11 or newer and make; all else is installed into .venv.
# `make bench` and `make nightly` compile with g++, too.

PYTHON ?= python3
JOBS   ?= 2
ARGS   ?=

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS  := $(VENV)/.installed-docs
BENCH := $(VENV)/.installed-bench

export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope

PROOF  := OMP_NUM_THREADS=1 MPLBACKEND=Agg MUJOCO_GL=disable $(BIN)/python -m tests.reliability

.DEFAULT_GOAL := help
.PHONY: help setup demo test nightly mutants damage kills soak lint style types layers format docs bench bench-guard bench-gpu suite constraints clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## create .venv and install flowpolicy into it (minutes the first time)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("flowpolicy needs Python 3.11 or newer, $(PYTHON) is %d.%d. Try: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || { echo "==> creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "==> installing torch, the large one"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt torch
	@echo "==> installing flowpolicy with its extras dev, cli, ogbench, video"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[dev,cli,ogbench,video]"
	@touch $@
	@echo "==> ready: $(BIN)/flowpolicy --help"

demo: setup ## train FQL beside its behaviour clone on the embedded maze; table and picture in runs/demo
	$(BIN)/flowpolicy demo --out runs/demo $(ARGS)

test: setup ## run the tests, without those marked slow
	$(PYTEST) -m "not slow" $(ARGS)

nightly: setup ## run all tests with coverage, then mutants, damage, kills and two hours of soak
	$(PYTEST) --cov=flowpolicy --cov-report=term $(ARGS)
	$(MAKE) mutants damage kills ARGS=
	$(MAKE) soak ARGS="--minutes 120"

mutants: setup ## make the mistakes of a table in a copy of the package; the tests must notice each
	$(BIN)/python -m tests.mutants $(ARGS)

damage: setup ## damage checkpoints and data sets in thousands of ways; each must be refused or do no harm
	$(PROOF).damage $(ARGS)

kills: setup ## kill runs 200 times; each must end as if nothing had happened
	$(PROOF).kills $(ARGS)

soak: setup ## train, save and rotate for ten minutes, or ARGS="--minutes 120"; memory must not grow
	$(PROOF).soak $(ARGS)

lint: style types layers ## check style, types and the layers

style: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports --no-logo --no-cache

format: setup ## format the code and repair what ruff can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(DOCS) ## run the tutorials and build the documentation into site/; every warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "==> ready: site/index.html"

$(DOCS): $(STAMP)
	@echo "==> installing the extra docs"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[docs]"
	@touch $@

bench: $(BENCH) ## measure the speed, see benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

bench-guard: $(BENCH) ## compare the ratios of the last `make bench` with the committed ones
	$(BIN)/python -m benchmarks.guard $(ARGS)

bench-gpu: $(BENCH) ## measure FQL on a GPU, under eight minutes
	$(BIN)/python -m benchmarks.gpu $(ARGS)

$(BENCH): $(STAMP)
	@echo "==> installing flowpolicy's extra bench"
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[bench]"
	@touch $@

suite: setup ## train every method of suite small and compare them; goes on where it was stopped
	$(BIN)/flowpolicy benchmark --suite small --out runs/benchmark --jobs $(JOBS) $(ARGS)

constraints: ## pin anew: install every extra into a fresh environment and write down what came
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -qq ".[all]"
	{ echo "# The tested set, written by 'make constraints'. The one place of pins."; \
	  build/constraints/bin/python -m pip freeze --exclude flowpolicy | sed 's/+.*//'; } > constraints.txt
	rm -rf build/constraints

clean: ## delete .venv, caches and build products (runs/ stays)
	rm -rf $(VENV) build dist site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
