# Needs Python 3.11+, pip, make and git; everything else is installed into .venv from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := .venv/uv/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
# pip's own settings decide where packages come from, for uv too
INDEX = $(or $(UV_DEFAULT_INDEX),$(PIP_INDEX_URL),$(shell $(BIN)/python -m pip config get global.index-url 2>/dev/null))

ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(shell echo $(PIP_FIND_LINKS) | tr ' ' ',')
endif
ifdef PIP_NO_INDEX
export UV_OFFLINE ?= 1
endif

# what is compiled once need not be compiled again by every process
unexport PYTHONDONTWRITEBYTECODE

CHAOS := deployment.py kill.py faults.py network_kill.py network_faults.py evaluate_orgs.py

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-network up down test chaos check fix image bench lock

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: .venv/ready ## Install what is locked into .venv; every other target does it when needed

demo: .venv/ready ## Evaluate the example org on the sandbox, without any key; the Prefect UI stays open
	@$(BIN)/python -m flows.org_evaluation --org-file examples/northwind-heating.yaml --sandbox

demo-network: .venv/ready ## The same for the example network: asked once, evaluated for each of its orgs
	@$(BIN)/python -m flows.network_questions --network-file examples/network.yaml --sandbox

up: .venv/ready ## Start Postgres, Prefect server, sandbox and worker; `make up ARGS=--sandbox` simulates the vendors
	@$(BIN)/python -m deployments.local up $(ARGS)

down: .venv/ready ## Stop what was started; the data stays
	@$(BIN)/python -m deployments.local down

test: .venv/ready ## Run all tests (real Postgres, real HTTP, real Prefect; no key, no network)
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: .venv/ready ## Kill and disturb many more evaluations than the suite does (about 40 minutes)
	@CHAOS_ROUNDS=10 $(BIN)/python -m pytest -n 2 $(addprefix tests/flows/test_,$(CHAOS)) tests/integration/providers/test_killed.py $(addprefix tests/infrastructure/test_,ecs.py local_production.py) $(ARGS)

check: .venv/ready .venv/checkov/ready ## Format, lint, types, import rules, lengths; image, compose file, workflows, Terraform
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/project/test_shape.py
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/zizmor --offline --quiet .github/workflows
	.venv/checkov/bin/checkov --config-file .checkov.yaml

fix: .venv/ready ## Format and repair what can be repaired automatically
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

image: .venv/ready ## Build the image and try it out (root, buildah, debootstrap); see docs/image.md
	@$(BIN)/python -m deployments.image $(ARGS)

bench: .venv/ready ## Measure against the budgets of docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

lock: .venv/uv/bin/uv ## Resolve again after a change of pyproject.toml
	$(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) $(COMPILE) --upgrade --extra dev pyproject.toml -o requirements.lock
	$(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) $(COMPILE) --constraint requirements.lock --extra build pyproject.toml -o requirements.runtime.lock
	$(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) $(COMPILE) --upgrade requirements.checkov.in -o requirements.checkov.lock

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/it")'
	$(PYTHON) -m venv .venv

.venv/uv/bin/uv: | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target .venv/uv uv==$(UV_VERSION)

# in an environment of its own: it wants older versions than the product
.venv/checkov/ready: requirements.checkov.lock | .venv/uv/bin/uv
	@$(PYTHON) -m venv .venv/checkov
	@$(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) $(UV) pip sync --quiet --python .venv/checkov/bin/python --require-hashes $<
	@touch $@

.venv/ready: pyproject.toml requirements.lock | .venv/uv/bin/uv
	@$(if $(INDEX),UV_DEFAULT_INDEX=$(INDEX)) $(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
