# `make help` lists the targets.
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
export UV_PROJECT_ENVIRONMENT := $(VENV)

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check format lint types docs lock clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ridgeline needs Python >= 3.11; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

setup: $(STAMP) ## make the environment in .venv

demo: $(STAMP) ## run the whole product on a simulated cluster
	@$(BIN)/ridgeline demo

up: $(STAMP) ## run the whole product on this machine's real input
	@$(BIN)/ridgeline up

# In two processes: much of the time is waiting. A file stays in one, with what its tests share.
test: $(STAMP) ## run the tests
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

format: $(STAMP) ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: $(STAMP) ## check format and lint
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: $(STAMP) ## check the types
	@$(BIN)/mypy

check: lint types test ## everything CI checks

docs: $(STAMP) ## write the reference pages from the code
	@$(BIN)/python -m ridgeline.reference docs

lock: $(STAMP) ## pin every dependency in requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header \
		--no-emit-index-url --no-annotate --all-extras --group dev pyproject.toml -o requirements.lock

clean: ## remove the environment and the local stack's data
	@rm -rf $(VENV) .ridgeline
