# Everything below works on a fresh clone: each target makes what it needs, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
PROTOCOL := platform/raymi/serve/grpc/open_inference
PROTOC_VENV := .venv-protoc
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo bench bench-peers check test drills test-unit test-ray format docs protocol clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment with pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Raymi needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt torch
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

$(BENCH_STAMP): $(STAMP)
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $(BENCH_STAMP)

# Other people's servers pin other versions of what Ray needs: they have an environment of their own.
$(PEERS_STAMP): platform/raymi/bench/serving_peers/requirements.txt constraints.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@grep -E '^(torch|numpy)==' constraints.txt > $(PEERS)/constraints.txt
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet \
		--constraint $(PEERS)/constraints.txt -r platform/raymi/bench/serving_peers/requirements.txt
	@touch $(PEERS_STAMP)

bench-peers: $(PEERS_STAMP) ## Install the servers that `raymi bench serve` compares with, in .venv-peers

demo: $(STAMP) ## Sweep, register, promote and serve the digits model, then check every answer (KEEP=1 leaves it up)
	@$(BIN)/python jobs/demo.py $(if $(KEEP),--keep)

bench: $(BENCH_STAMP) $(PEERS_STAMP) ## Compare training, data loading and serving with other people's, on this machine (a quarter of an hour)
	@$(BIN)/raymi bench train
	@$(BIN)/raymi bench data
	@$(BIN)/raymi bench serve

check: $(STAMP) ## Lint, format, types, layers and the shape of the tree
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=platform $(BIN)/lint-imports --no-cache
	@$(BIN)/pytest -q tests/architecture

test: check ## Check, then all tests but the drills
	@$(BIN)/pytest -m 'not drill' --durations=10 tests/unit tests/contract tests/docs
	@$(BIN)/pytest -m 'not drill' --durations=15 tests/integration tests/e2e

drills: $(STAMP) ## What `make test` leaves out: full disk, lost storage, out of memory, signals, compiled networks, scaling, tuning
	@$(BIN)/pytest -m drill tests/contract tests/integration

test-unit: $(STAMP) ## The fast tiers only: no Ray, seconds
	@$(BIN)/pytest -m 'not drill' tests/unit tests/contract tests/architecture tests/docs

test-ray: $(STAMP) ## The tiers that start Ray: integration and end to end
	@$(BIN)/pytest -m 'not drill' tests/integration tests/e2e

format: $(STAMP) ## Rewrite files in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(STAMP) ## Rewrite the parts of documents that are printed from the code
	@PYTHONPATH=platform $(BIN)/python tests/docs/readme_sections.py

# An old compiler: its code runs with every protobuf from 4.25 on, and so with whatever Ray brings.
$(PROTOC_VENV)/.installed:
	@test -x $(PROTOC_VENV)/bin/python || $(PYTHON) -m venv $(PROTOC_VENV)
	@$(PROTOC_VENV)/bin/python -m pip --disable-pip-version-check install --quiet grpcio-tools==1.62.3 'setuptools<80'
	@touch $(PROTOC_VENV)/.installed

protocol: $(PROTOC_VENV)/.installed ## Rewrite the code that is generated from open_inference.proto
	@cd platform && ../$(PROTOC_VENV)/bin/python -m grpc_tools.protoc -I . \
		--python_out=. --pyi_out=. --grpc_python_out=. $(PROTOCOL:platform/%=%).proto

clean: ## Remove the virtual environment, caches and local state
	rm -rf $(VENV) $(PEERS) $(PROTOC_VENV) .raymi .mypy_cache .pytest_cache .ruff_cache .hypothesis
