# Two commands for a newcomer: `make demo` and `make test`. Each does all its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
# With the ten slowest tests.
PYTEST = $(BIN)/pytest --durations=10 $(PYTEST_OPTIONS)
# In the order of tests/e2e/conftest.py, whose scheduling it is.
ON_HOSTS = --no-loadscope-reorder
# Tests mostly wait for hosts: more workers than cores.
WORKERS ?= 4
# Whatever the machine says: each run would compile all tests and each command's modules again.
export PYTHONDONTWRITEBYTECODE :=
# Debian ships venv apart from Python.
ENSURE_VENV = $(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -q && apt-get install -y -q python3-venv; }

.PHONY: help
help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The marker carries the time of the last complete installation.
.venv/.installed: requirements.lock pyproject.toml
	@echo "==> Installing Slipway into .venv"
	@$(ENSURE_VENV)
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

.PHONY: install
install: .venv/.installed  ## Install Slipway into .venv

.PHONY: lint
lint: .venv/.installed  ## Check style (ruff), types (mypy) and that no import goes upwards (import-linter)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

PIP_COMPILE = $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-find-links --no-emit-index-url --no-emit-trusted-host
# `--extra docs` would add what Slipway itself depends on.
DOCS_GROUP = import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print(*project["optional-dependencies"]["docs"], sep="\n")

.PHONY: lock
lock: .venv/.installed  ## Lock the dependencies again, with hashes
	@$(PIP_COMPILE) --extra dev --output-file requirements.lock pyproject.toml
	@$(BIN)/python -c '$(DOCS_GROUP)' | $(PIP_COMPILE) --output-file requirements-docs.lock -

.venv-docs/.installed: requirements-docs.lock
	@echo "==> Installing the documentation's tools into .venv-docs"
	@$(ENSURE_VENV)
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/pip install --quiet --require-hashes -r requirements-docs.lock
	@touch $@

.PHONY: docs
docs: .venv-docs/.installed  ## Build the documentation as an offline site; fails on a broken link
	@rm -rf docs/_build
	@.venv-docs/bin/sphinx-build --quiet --fail-on-warning -c docs . docs/_build
	@cp docs/_build/README.html docs/_build/index.html
	@echo "==> Open docs/_build/index.html"

.PHONY: demo
demo: .venv/.installed  ## Provision a throwaway host, verify it, and say where to look
	@echo "==> A throwaway host"
	@$(BIN)/slipway lab up
	@echo "==> Provision the whole stack on it"
	@$(BIN)/slipway apply lab --yes
	@echo "==> Verify it, from outside and on the host"
	@$(BIN)/slipway verify lab
	@echo "==> Plan again"
	@$(BIN)/slipway plan lab
	@$(BIN)/slipway lab site

.PHONY: check
check: .venv/.installed  ## Check style and types, and run the tests that need no host
	@$(MAKE) --no-print-directory --jobs 2 lint unit

.PHONY: unit
unit: .venv/.installed
	@$(PYTEST) tests/unit -m "not thorough" -n 4 --dist worksteal

.PHONY: test
test: check  ## The same, and the everyday tests on throwaway hosts
	@$(BIN)/python -m slipway.lab.packages
	@# 1,024 open files are a fresh Debian's limit, whatever this machine's is.
	@ulimit -Sn 1024; $(PYTEST) tests/e2e -m "not thorough" -n $(WORKERS) $(ON_HOSTS)

.PHONY: test-thorough
test-thorough: check  ## Everything: every fault drawn in full, on virtual machines too, and faults of our own
	@$(BIN)/python -m slipway.lab.packages
	@$(PYTEST) tests/unit -m thorough
	@ulimit -Sn 1024; $(PYTEST) tests/e2e --verbose -n $(WORKERS) $(ON_HOSTS)
	@$(MAKE) --no-print-directory test-faults FAULTS="-j 2"

.PHONY: test-faults
test-faults: .venv/.installed  ## Plant faults in a copy of the product; a test must catch each (FAULTS="--no-host -j 2")
	@PYTHONPATH=tests $(BIN)/python -m support.faults $(FAULTS)

.PHONY: bench-provision
bench-provision: .venv/.installed  ## Compare provisioning by a shell script, Slipway, pyinfra alone and Ansible
	@$(BIN)/python -m benchmarks.provision --repeat $(or $(REPEAT),1)

.PHONY: bench-converge
bench-converge: .venv/.installed  ## Compare a plan of converged hosts, near and far, by ssh, Slipway, pyinfra and Ansible
	@$(BIN)/python -m benchmarks.converge --repeat $(or $(REPEAT),3)

.PHONY: bench-first-hour
bench-first-hour: .venv/.installed  ## Measure the way from the clone of a project to its answer in the lab
	@$(BIN)/python -m benchmarks.first_hour

.PHONY: bench-backup
bench-backup: .venv/.installed  ## Let a server die under writes, restore it to random seconds, and compare with mongodump
	@$(BIN)/python -m benchmarks.backup --repeat $(or $(REPEAT),20)

.PHONY: bench-capacity
bench-capacity: .venv/.installed  ## Say how many servers so many users take, and compare the model with the lab
	@$(BIN)/python -m benchmarks.capacity

.PHONY: bench-serve
bench-serve: .venv/.installed  ## Load a host by h2load and visitors, through releases, and other web servers beside it
	@$(BIN)/python -m benchmarks.serve --repeat $(or $(REPEAT),3)
