# medfuse: the commands of a day. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
DIR ?= demo/brain_mr/results
PIP_FLAGS ?=
PYTEST_FLAGS ?=
BENCH_FLAGS ?=

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.medfuse-installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format review bench bench-dicom bench-negation bench-fusion bench-score bench-score-speed bench-evaluation bench-phrase bench-review wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Make .venv with medfuse and its tools (PYTHON=python3.12 picks the interpreter)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "medfuse needs Python 3.11 or newer; run: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev,engines,bundle,login]'
	touch $@

demo: install ## See the whole job on made studies: index, train, evaluate, score
	$(BIN)/medfuse demo

test: install ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_FLAGS)

test-slow: install ## Run the slow tests
	$(BIN)/python -m pytest -m slow --timeout 1500 $(PYTEST_FLAGS)

check: install ## Check format, lint, types and the import rule
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Format the code and sort its imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

review: install ## Open the dashboard on scored studies (DIR=demo/brain_mr/results)
	$(BIN)/medfuse review $(DIR)

bench: install ## Measure the speed of reading and scoring (BENCH_FLAGS="--checkpoint RUN")
	$(BIN)/python tests/benchmarks/bench_speed.py $(BENCH_FLAGS)

bench-dicom: install ## Measure the reading of DICOM beside other tools (BENCH_FLAGS="--part read")
	$(BIN)/python tests/benchmarks/bench_dicom.py $(BENCH_FLAGS)

bench-negation: install ## Measure negation on the NegEx sentences (BENCH_FLAGS="--peer negspacy --peer-python PYTHON")
	$(BIN)/python tests/benchmarks/bench_negation.py $(BENCH_FLAGS)

bench-fusion: install ## Measure what fusion adds on the real hippocampus set: three rows, one table
	$(BIN)/python tests/benchmarks/bench_fusion.py --output runs/bench-fusion

bench-score-speed: install ## Measure studies an hour beside a plain MONAI pipeline (BENCH_FLAGS="--size quick --studies 2")
	$(BIN)/python tests/benchmarks/bench_score_speed.py $(BENCH_FLAGS)

bench-evaluation: install ## Measure the evaluation (BENCH_FLAGS="--run RUN --manifest FILE --output-dir DIR")
	$(BIN)/python tests/benchmarks/bench_evaluation.py --part time --part references --part runs $(BENCH_FLAGS)

bench-score: install ## Measure batch scoring: speed, cost a study, kill -9 (BENCH_FLAGS="--part kill")
	$(BIN)/python tests/benchmarks/bench_score.py $(BENCH_FLAGS)

bench-review: install ## Measure the dashboard in Chromium and its store under kill -9 (BENCH_FLAGS="--part store")
	$(BIN)/python tests/benchmarks/bench_review.py $(BENCH_FLAGS)

bench-phrase: install ## Measure whether text picks what is delineated, on made studies with two nodules
	$(BIN)/python tests/benchmarks/bench_phrase.py --output runs/bench-phrase

wheel: install ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## Remove the environment, caches and build outputs
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
