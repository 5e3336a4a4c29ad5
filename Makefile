# What a person types here. `make run` and `make test` need Python 3.11 or newer and make, nothing else.

SHELL = /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL = help

VENV = .venv
BIN = $(VENV)/bin
# An interpreter of your own choice: make run PYTHON=/usr/bin/python3.13
PYTHON =
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A stamp says that the extras of this pyproject.toml are installed.
RUNNABLE = $(VENV)/.runnable
TESTABLE = $(VENV)/.testable

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TYPED = sapflow functions/sapflow_functions $(wildcard operator/sapflow_operator) tests $(if $(wildcard bench/*.py),bench)
# One thread a process: tests run many functions at once on few cores. Empty, the last variable lets Python keep what it
# has compiled; images often forbid that, and each of the hundreds of processes would then compile Sapflow by itself.
FOR_TESTS = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
TEST_PROCESSES = 2
# Of the cluster tests: see tools/e2e.
PARTS = all
# On the PATH, or as tests/cluster built it.
HELM = $(shell PATH="$$PATH:$${CLUSTER_HOME:-$$HOME/.cache/sapflow-cluster}/bin" command -v helm)
# What the chart is checked against; a helm that was built plainly takes itself for one of 2020.
KUBERNETES = 1.34.0

.PHONY: help run cluster-run test check bench bench-paper bench-cluster e2e e2e-all images clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: $(RUNNABLE) ## Train the digits sample on this machine, functions as local processes, and write its report
	$(BIN)/sapflow run manifests/samples/digits.yaml --again
	$(BIN)/sapflow report manifests/samples/digits.yaml --output .sapflow/report.html

cluster-run: ## Train the digits sample in a cluster, from nothing: kind or minikube, else one of our own (see tools/cluster-run)
	tools/cluster-run

test: $(TESTABLE) ## Run the unit and integration tests
	$(FOR_TESTS) $(BIN)/python -m pytest tests/unit tests/integration -n $(TEST_PROCESSES) --dist worksteal --durations 20 --durations-min 4

check: $(TESTABLE) ## Lint, formatting, types, import layers, chart
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo
	@if [ -n "$(HELM)" ]; then "$(HELM)" lint --strict --quiet --kube-version $(KUBERNETES) charts/sapflow; \
	else printf '\n*** THE CHART WAS NOT LINTED, and its tests will be skipped: no helm was found.\n' >&2; \
	  printf '*** Install helm, or build it: tests/cluster/cluster build helm\n\n' >&2; \
	  [ "$(SAPFLOW_REQUIRE_HELM)" != 1 ]; fi

bench: $(TESTABLE) ## Measure speed and size against their goals; the paper's tables that take no measuring
	$(BIN)/python -m bench
	for name in table3 memory month; do $(BIN)/python -m bench.paper.$$name || exit 1; done

bench-paper: $(TESTABLE) ## Measure the paper's figures again (docs/paper.md); an hour and a half, on a machine with nothing else to do
	for name in fig3 steptime choice fig6 accuracy case_c fig11; do $(BIN)/python -m bench.paper.$$name || exit 1; done

bench-cluster: $(TESTABLE) ## Measure jobs on the cluster that KUBECONFIG names, with Sapflow installed; an hour or more
	$(BIN)/python -m bench.cluster
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.placement --cluster
	$(BIN)/python -m bench.paper.fig6 --cluster

e2e: $(TESTABLE) ## Run jobs and faults on the cluster that KUBECONFIG names, or on one of our own
	tools/e2e short

e2e-all: $(TESTABLE) ## All cluster tests; PARTS="faults queue" for some of them (see tools/e2e)
	NODES=$${NODES:-2} tools/e2e $(PARTS)

images: ## Build the images of operator, merger and worker, by buildah or docker
	tools/build-images $(VERSION)

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	tools/make-venv $(VENV) $(PYTHON)

$(RUNNABLE): pyproject.toml | $(BIN)/python
	@echo "installing Sapflow into $(VENV) (PyTorch is large: the first time takes minutes)"
	$(PIP_INSTALL) -e '.[worker,preparer,data,metrics]'
	@touch $@

$(TESTABLE): pyproject.toml | $(BIN)/python
	@echo "installing Sapflow and its tests' tools into $(VENV) (PyTorch is large: the first time takes minutes)"
	$(PIP_INSTALL) -e '.[dev]'
	@touch $(RUNNABLE) $@
