# Needs Python 3.11 or newer and make. Everything else is installed into .venv, from the hashed lists in requirements/.

PYTHON ?= python3
# Test processes at once, each with servers of its own.
WORKERS ?= 2
# Makes the lock files and nothing else: https://docs.astral.sh/uv/
UV ?= uv

VENV := .venv
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# One file for each thing done, newer than what it was done from: another interpreter or another lock does it again.
INTERPRETER := $(VENV)/.python-$(PYTHON_VERSION)
STACK := $(VENV)/.installed-stack
DEV := $(VENV)/.installed-dev
GENERATOR := $(VENV)/.installed-client-generator
BENCH := $(VENV)/.installed-bench

.DEFAULT_GOAL := help
.PHONY: help run env trial test test-system test-chassis test-catalog test-activity test-metering test-client lint check hooks advisories openapi clients fuzz faults faults-bite release-check prove bench bench-quick bench-growth clean-data lock
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z -]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "  variables: PYTHON=$(PYTHON), and for run: STACK_DIR, STACK_PORT_BASE, POSTGRES_DSN, REDIS_URL"

run: $(STACK) ## start PostgreSQL, Valkey, the three services and demo data; Ctrl-C stops all of it
	@exec $(VENV)/bin/python -m local_stack

env: ## write .env and secrets/ for docker compose, with secrets drawn at random; what is there stays
	@$(PYTHON) deploy/write_env.py

trial: ## try docker-compose.yml on a container engine, from up to restore, in a quarter of an hour (ENGINE=podman)
	@$(PYTHON) deploy/trial

# Whichever process is free takes the next tests.
PYTEST = $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not system"

test: $(DEV) ## run the tests of all logic, on embedded servers (WORKERS=2 processes)
	$(PYTEST) $(ARGUMENTS)
	@echo "left out: whole systems, started, killed, upgraded and looked at in a browser (make test-system)"

# Searches for a counterexample (hypothesis) are among both: short ones of the logic's, long ones here.
test-system: $(DEV) ## run the other tests: stacks, kills, backups, upgrades, clusters, long searches, a browser, the pages' commands
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "system or hypothesis" --hypothesis-profile long $(ARGUMENTS)

test-chassis test-catalog test-activity test-metering test-client: $(DEV) ## run one part's tests, in about a minute at most
	$(PYTEST) $(wildcard tests/service_$(@:test-%=%) tests/$(@:test-%=%)_service tests/metering_$(@:test-%=%)) $(ARGUMENTS)

lint: $(DEV) ## formatting, lint, types, import rules
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

check: lint advisories test test-system ## lint, advisories, all tests: what a change must pass

hooks: ## have git run make lint before each commit
	@printf '#!/bin/sh\nexec make lint\n' >.git/hooks/pre-commit && chmod +x .git/hooks/pre-commit

advisories: $(DEV) ## ask whether there are advisories against what is locked, where a list can be reached
	$(VENV)/bin/python -m tests.dependencies.check_advisories

openapi: $(DEV) ## write the OpenAPI documents in docs/api anew
	$(VENV)/bin/python -m tests.openapi.contract

clients: $(DEV) $(GENERATOR) ## lint the OpenAPI documents, and take the tour with clients made from them (Node.js, if there)
	$(VENV)/bin/python -m tests.openapi.check_clients $(VENV)/client-generator

fuzz: $(DEV) ## make requests from the OpenAPI documents, a minute of hostile ones too (ARGUMENTS="--seconds 3600")
	$(VENV)/bin/python -m tests.openapi.fuzz $(ARGUMENTS)

faults: $(DEV) ## break every part of a stack of its own for two minutes, and check every charge (ARGUMENTS="--minutes 60")
	$(VENV)/bin/python -m tests.faults $(ARGUMENTS)

faults-bite: $(DEV) ## put bugs into the product on purpose, and see that the checker finds each
	FAULTS_BITE=1 $(VENV)/bin/python -m pytest tests/faults/test_bites.py -s $(ARGUMENTS)

release-check: $(DEV) ## what must hold before a version is tagged, in a fresh clone
	@deploy/release-check

prove: $(STACK) ## kill anything while it sells the last credits, and the usual ways too: a minute (ARGUMENTS=--quick)
	@exec $(VENV)/bin/python -m prove $(ARGUMENTS)

bench: $(BENCH) ## measure every question of bench/ beside its peers, some 20 minutes (ARGUMENTS="--only authorize_one"; needs wrk)
	$(VENV)/bin/python -m bench $(ARGUMENTS)

bench-quick: $(BENCH) ## the same in some 8 minutes, too short to be quoted
	$(VENV)/bin/python -m bench --quick $(ARGUMENTS)

bench-growth: $(BENCH) ## how cost grows with what is already there: about 25 minutes, ten of them without a pause
	$(VENV)/bin/python -m bench $(addprefix --only growth_,page stream relay start ledger minutes) $(ARGUMENTS)

clean-data: ## forget the local stack's data, logs and secrets (STACK_DIR, or .local)
	@$(PYTHON) -m local_stack.state_directory

lock: ## resolve the dependencies of pyproject.toml again (UPGRADE=--upgrade for newer ones)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv, and $(UV) is not installed: set UV to its path" >&2; exit 1; }
	$(COMPILE) pyproject.toml --output-file requirements/service.lock
	$(COMPILE) pyproject.toml --extra stack --constraint requirements/service.lock --output-file requirements/stack.lock
	$(COMPILE) pyproject.toml --extra stack --extra dev --constraint requirements/stack.lock --output-file requirements/dev.lock
	$(COMPILE) requirements/client-generator.in --output-file requirements/client-generator.lock
	$(COMPILE) pyproject.toml --extra stack --extra bench --constraint requirements/dev.lock --output-file requirements/bench.lock
	$(COMPILE) requirements/bench-peers.in --output-file requirements/bench-peers.lock

$(INTERPRETER):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	"this needs Python 3.11 or newer, and $(PYTHON) is $(or $(PYTHON_VERSION),not there): make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@test "$$($(VENV)/bin/python -c 'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = $(PYTHON_VERSION) || { \
		echo "making $(VENV) with Python $(PYTHON_VERSION)"; $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

$(STACK): requirements/stack.lock $(INTERPRETER)
	@echo "installing $< into $(VENV) (once)"
	@$(INSTALL) -r $<
	@touch $@

$(DEV): requirements/dev.lock $(INTERPRETER)
	@echo "installing $< into $(VENV) (once)"
	@$(INSTALL) -r $<
	@touch $@

# In an environment of its own: requirements/client-generator.in says why.
$(GENERATOR): requirements/client-generator.lock $(INTERPRETER)
	@echo "installing $< into $(VENV)/client-generator (once)"
	@$(PYTHON) -m venv --clear $(VENV)/client-generator
	@$(VENV)/client-generator/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The peers are programs of other people's libraries: an environment of their own, and Node.js's modules where npm is.
$(BENCH): requirements/bench.lock requirements/bench-peers.lock bench/peers/package-lock.json $(STACK)
	@echo "installing $< into $(VENV), and the peers into $(VENV)/bench-peers (once)"
	@$(INSTALL) -r $<
	@$(PYTHON) -m venv --clear $(VENV)/bench-peers
	@$(VENV)/bench-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench-peers.lock
	@if command -v npm >/dev/null; then cd bench/peers && npm ci --silent --no-audit --no-fund --ignore-scripts; \
	else echo "npm is not installed: the peers of Node.js are left out" >&2; fi
	@touch $@
