# Two commands do everything: `make demo` runs the main job, `make test` passes the tests.
# Each target prepares the environment by itself; it needs Python 3.11, make and PyPI.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# The one that CI runs, else the newest.
PYTHON ?= $(or $(firstword $(foreach name,python3.11 python3.14 python3.13 python3.12,$(shell command -v $(name)))),python3)
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PREPARE := $(PYTHON) scripts/prepare
PROCS ?= 4
OLDEST := .venv-pytest84
SITE := .venv-docs
SP_SPECS := tests/integration/signalprocessing/specs
SP_LOG := .muster/sp-integration.log
# What a shell may have for another project; an index or a proxy of one's own stays.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PYTHONHOME PYTHONPATH VIRTUAL_ENV
MUSTER_CORE := $(patsubst %,pytest-muster/tests/test_%.py,compatibility live plugin recording seed_failure serial shared_resources summary)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-46s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ARGS="…" reaches the command: make demo ARGS=--keep, make test ARGS="-k ledger", make bench ARGS=ingest'

$(READY): requirements/dev.txt requirements/axe.txt pyproject.toml pocketkube/pyproject.toml pytest-muster/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)'; exit 2; }
	@$(PREPARE) $(VENV) requirements/dev.txt requirements/axe.txt --editable . --editable pocketkube --editable pytest-muster

.PHONY: install
install: $(READY) ## Prepare the environment in .venv

.PHONY: demo
demo: $(READY) ## Run the whole system on this machine: six alerts, their decisions, the verified audit log
	@$(BIN)/kubernaut demo $(ARGS)

.PHONY: up
up: $(READY) ## Run the same stack, empty, until Ctrl-C
	@$(BIN)/kubernaut up $(ARGS)

.PHONY: test
test: $(READY) ## All tests (ARGS reach pytest, PROCS workers)
	@$(BIN)/pytest -n $(PROCS) $(ARGS)

.PHONY: setup-envtest
setup-envtest: $(READY) ## Say which Kubernetes API the specs run on, and how to get a real one
	@$(BIN)/python scripts/setup-envtest

# DD-TEST-002: four workers. One is for comparison only; the verdict of each spec is the same.
.PHONY: test-integration-signalprocessing
test-integration-signalprocessing: setup-envtest ## The specs of signal processing on PROCS workers (4), in 10 minutes at most
	@case '$(PROCS)' in 0|1) echo 'NOT COMPLIANT with DD-TEST-002: PROCS=$(PROCS) runs the specs one after the other' >&2;; esac
	@mkdir -p $(dir $(SP_LOG))
	@echo 'Running SignalProcessing integration tests ($(PROCS) processes), whole log in $(SP_LOG)'
	@# A file of its own for each run, and the known path leads to that of the newest: two may run at once.
	@log="$(basename $(SP_LOG))-$$(date +%Y%m%dT%H%M%S)-$$$$.log"; ln -sfn "$${log##*/}" $(SP_LOG); \
	 set -o pipefail; $(BIN)/pytest -n $(PROCS) --muster-live=off --muster-deadline=10m $(ARGS) $(SP_SPECS) 2>&1 | tee "$$log"

.PHONY: test-integration-signalprocessing-parallel
test-integration-signalprocessing-parallel: ## The same on four workers, whatever PROCS says
	@$(MAKE) --no-print-directory test-integration-signalprocessing PROCS=4

.PHONY: test-mutations
test-mutations: $(READY) ## The fourteen faults of the report, one after the other: red, and named by the triage
	@MUTATIONS=all $(BIN)/pytest -n 0 -p no:randomly $(ARGS) tests/integration/signalprocessing/test_mutations.py

$(OLDEST)/.ready: requirements/pytest84.txt pytest-muster/pyproject.toml
	@$(PREPARE) $(OLDEST) requirements/pytest84.txt --editable pytest-muster

.PHONY: muster-compat
muster-compat: $(OLDEST)/.ready ## The core of pytest-muster on the oldest pytest that it supports
	@$(OLDEST)/bin/pytest -q -n $(PROCS) $(ARGS) $(MUSTER_CORE)

.PHONY: muster-strangers
muster-strangers: $(READY) ## Public suites without and with pytest-muster, from PyPI (ARGS names some)
	@$(BIN)/python pytest-muster/tests/strangers.py $(ARGS)

.PHONY: triage-example
triage-example: $(READY) ## Explain and repair the test failure of 15 December 2025
	@$(BIN)/python pytest-muster/examples/seed-failure/show.py

.PHONY: triage-15-december
triage-15-december: $(READY) ## Replay that day on the 76 specs, and write the report that should have been written
	@$(BIN)/python scripts/triage-15-december $(ARGS)

.PHONY: triage-table
triage-table: $(READY) ## Every planted fault and what the triage makes of it (ARGS names suites)
	@$(BIN)/python pytest-muster/tests/planted/table.py $(ARGS)

.PHONY: check
check: $(READY) ## Format, lint, types, import contracts, test code, generated files
	@$(BIN)/ruff format --check --quiet . || { echo 'run: make fmt'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/muster check
	@$(BIN)/python scripts/generate --check

.PHONY: fmt
fmt: $(READY) ## Format the code and regenerate the generated files
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/python scripts/generate

$(SITE)/.ready: requirements/docs.txt
	@$(PREPARE) $(SITE) requirements/docs.txt

.PHONY: docs
docs: $(SITE)/.ready ## Build the documents as a site that needs no network: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet $(ARGS)

.PHONY: dist
dist: $(READY) ## Build the wheels and source archives of the three distributions into dist/
	@rm -rf dist
	@for folder in . pocketkube pytest-muster; do (cd $$folder && "$(CURDIR)/$(BIN)/hatchling" build -d "$(CURDIR)/dist") || exit 1; done

.PHONY: newest-python
newest-python: dist ## Try the wheels on the newest Python of this machine that is newer than the one of .venv
	@$(BIN)/python scripts/newest-python

.PHONY: bench
bench: $(READY) ## All benchmarks, or the named ones: make bench ARGS="ingest decision"
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: faults
faults: $(READY) ## Random faults, edits or storms: make faults ARGS=record, ARGS="edits --seed 7", ARGS=gateway, ARGS=decision
	@$(BIN)/python -m faults $(ARGS)

.PHONY: muster-endings
muster-endings: $(READY) ## 300 random endings of runs under pytest-muster (SEED=n repeats one)
	@cd pytest-muster && $(abspath $(BIN))/python -m endings $(ARGS)

.PHONY: ledger-interop
ledger-interop: $(READY) ## Have transparency-dev's fsck and an independent witness check the ledger (needs Go)
	@$(BIN)/python scripts/ledger-interop $(ARGS)

.PHONY: opa-compare
opa-compare: $(READY) ## Compare policies and expressions of a fresh seed with OPA (needs Go)
	@$(BIN)/python scripts/opa-compare $(ARGS)

.PHONY: image
image: $(READY) ## Build the images of the services with docker, podman or buildah (ARGS names some)
	@$(BIN)/python scripts/image $(ARGS)

.PHONY: permissions
permissions: $(READY) ## Take each permission of the chart away, and see a check fail (needs helm and KUBEBUILDER_ASSETS)
	@PERMISSIONS="$(or $(ARGS),all)" $(BIN)/pytest -q -s tests/integration/deploy/test_permissions.py

.PHONY: kustomize
kustomize: $(READY) ## Render deploy/kustomize from the Helm chart (needs helm)
	@$(BIN)/python scripts/kustomize $(ARGS)

COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
IMAGE_EXTRAS_datastorage := datastorage kubernetes-auth tracing
IMAGE_EXTRAS_controller := controller
IMAGE_EXTRAS_gateway := gateway

.PHONY: lock
lock: $(READY) ## Update the pinned requirements (needs uv)
	@$(COMPILE) --extra all --group dev --upgrade --no-emit-package pocketkube --output-file requirements/dev.txt pyproject.toml pocketkube/pyproject.toml
	@$(MAKE) lock-images

.PHONY: lock-images
lock-images: ## The requirements of the images, in the versions of requirements/dev.txt (needs uv)
	@$(COMPILE) --constraint requirements/dev.txt --output-file requirements/image-build.txt requirements/image-build.in
	@$(foreach image,datastorage controller gateway,$(COMPILE) --constraint requirements/dev.txt $(addprefix --extra ,$(IMAGE_EXTRAS_$(image))) --output-file requirements/image-$(image).txt pyproject.toml;)

.PHONY: clean
clean: ## Remove the environment and caches
	@rm -rf $(VENV) $(OLDEST) .muster .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
