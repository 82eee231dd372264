# Tidemill's commands. Everything lives in .venv; nothing but Python (with venv and pip) and make is needed before.
# `make serve PORT=18080 MODEL=path ARGS="--max-num-seqs 8"` changes what is served.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?= minnow
ARGS ?=
TESTS ?= tests

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := src/tidemill deploy tests training benchmarks docs

.DEFAULT_GOAL := help
.PHONY: help serve test contract soak check format docs train eval export-minnow bench clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/bin/python:
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.serve: pyproject.toml | .venv/bin/python
	@echo "Installing Tidemill and what it needs (PyTorch is the large part; minutes the first time)"
	@$(PIP) install --progress-bar on -e .
	@touch $@

.venv/.develop: pyproject.toml | .venv/bin/python
	@echo "Installing Tidemill with its test and check tools"
	@$(PIP) install --progress-bar on -e '.[test,check]'
	@touch $@ .venv/.serve

.venv/.train: pyproject.toml | .venv/bin/python
	@$(PIP) install --progress-bar on -e '.[train]'
	@touch $@

serve: .venv/.serve ## Serve MODEL (the bundled one by default) on HOST:PORT
	@exec $(BIN)/tidemill serve $(MODEL) --host $(HOST) --port $(PORT) $(ARGS)

test: .venv/.develop ## Run the tests
	@$(BIN)/python -m pytest $(TESTS) -m "not contract and not soak" -n 2 --dist worksteal -q

contract: .venv/.develop ## Test against what others built: legacy LangChain, Node clients, a real Prometheus
	@bash tests/contract/install
	@$(BIN)/python -m pytest tests/contract -m contract -q

soak: .venv/.develop ## Long runs of the scenarios (tens of minutes)
	@$(BIN)/python -m pytest tests/soak -m soak -q -s

check: .venv/.develop ## Format, lint, strict types, import contract, docs links
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/docs -q

format: .venv/.develop ## Format and mend what can be mended
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

docs: .venv/.develop ## Renew the parts of the docs that come from the code
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m tidemill.config.reference > docs/reference/settings.md
	@$(BIN)/python -m deploy.generate

train: .venv/.train ## Train minnow, the bundled model (hours; resumable)
	@OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 \
		$(BIN)/python -m training.train $(ARGS)

eval: .venv/.train ## Evaluate minnow on both held-out sets
	@$(BIN)/python -m training.evaluate $(ARGS)

export-minnow: .venv/.train ## Put a checkpoint into the package: ARGS="--checkpoint PATH"
	@$(BIN)/python -m training.export $(ARGS)

bench: .venv/.develop ## Tidemill beside transformers on the 115M shape, in one run
	@$(BIN)/python -m benchmarks.against_transformers --out benchmarks/results/against_transformers.json

clean: ## Remove what the commands above made
	@rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
