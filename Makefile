# One command for each thing that is done to this repository; `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup setup-gpu tools run test test-slow test-gpu fuzz lint format types docs lock clean

BIN := .venv/bin
SOURCES := trainer pipeline serving scripts tests benchmarks setup.py
PYTEST := $(BIN)/python -m pytest
UV = $$(command -v uv || echo .uv/bin/uv)
# Both locks come from setup.py; what is already pinned stays unless UPGRADE=1 is given.
COMPILE = $(UV) pip compile setup.py --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --quiet \
	$(if $(UPGRADE),--upgrade)

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## make .venv: Python 3.11, the locked packages, polymodal itself
	@./scripts/setup.sh

setup-gpu: ## the same with CUDA libraries, for NVIDIA GPUs
	@POLYMODAL_LOCK=requirements-gpu.lock ./scripts/setup.sh

tools: ## Debian programs that tests drive: promtool, Chromium, h2load
	@scripts/install_tools.sh || [ $$? -eq 3 ]

run: setup ## make the demo data, train on it, evaluate, push: build/demo
	$(BIN)/polymodal demo --output build/demo

test: setup tools lint types ## lint, types and the fast tests: what .ci/run runs
	$(PYTEST) -m "not slow and not e2e and not gpu" --durations=15

test-slow: setup tools ## the slow and end-to-end tests
	$(PYTEST) -m "(slow or e2e) and not gpu" --durations=15

test-gpu: setup-gpu ## the tests that need an NVIDIA GPU
	$(PYTEST) -m gpu --durations=15

fuzz: setup tools ## both fronts of the server under made-up requests, for an hour or so
	FUZZ_EXAMPLES=$(or $(EXAMPLES),3000) $(PYTEST) tests/serving/test_fuzz_*.py

lint: setup ## ruff: rules and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: setup ## ruff: write format and safe fixes
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

types: setup ## mypy
	$(BIN)/mypy

docs: setup ## write docs/config.md from the config's dataclasses
	$(BIN)/python scripts/config_reference.py

lock: setup ## pin setup.py's dependencies again (UPGRADE=1: the newest that fit)
	$(COMPILE) --extra dev --extra playground -o requirements.lock
	[ -f requirements-gpu.lock ] || cp requirements.lock requirements-gpu.lock
	$(COMPILE) --extra dev --extra playground --extra gpu -c requirements.lock -o requirements-gpu.lock
	@! grep -nE '://|^--|/(home|opt|root|usr)/' requirements.lock requirements-gpu.lock \
		|| { echo "lock: the lines above name a host or a local path: remove that index setting and run make lock again" >&2; exit 1; }

clean: ## remove what was built, keep .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find trainer pipeline serving tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
