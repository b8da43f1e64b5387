# Thin over `uv run` and `docker compose`: every target is a command that can be typed as well. Pass flags on in ARGS,
# as in `make run-generator ARGS="--mode batch --num-portfolios 500"`.

ARGS ?=
# What `up` and `start` add to the core, as in `make up PROFILES=load`.
PROFILES ?=
ALL_PROFILES := load observability

.DEFAULT_GOAL := help
.PHONY: help install quickstart demo run-generator run-calculator run-api doctor top topics up up-all down start \
        stop status logs redis-cli clean test lint format type-check check bench schema reference figures pictures \
        dashboards rules lock notices dist sbom

help: ## Show what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Install everything into .venv, web pages included
	uv sync

# --- run ---

quickstart: demo ## The same as demo

demo: ## Everything in one process tree, with nothing installed beforehand; Ctrl-C stops it
	uv run plimsoll demo $(ARGS)

run-generator: ## Publish the replay and portfolios to KAFKA_BROKERS
	uv run data-generator $(ARGS)

run-calculator: ## Keep the risk of every portfolio current: KAFKA_BROKERS to REDIS_URL
	uv run risk-calculator $(ARGS)

run-api: ## Serve GraphQL, REST and subscriptions on http://127.0.0.1:6066
	uv run risk-api $(ARGS)

doctor: ## Check everything that Plimsoll needs, and say what mends each fault
	uv run plimsoll doctor $(ARGS)

top: ## Watch rates, lag, latency and the riskiest portfolios; q ends it
	uv run plimsoll top $(ARGS)

topics: ## Create the topics that are missing on KAFKA_BROKERS, and list all five
	uv run plimsoll topics $(ARGS)

# --- the same on Docker ---

up: ## Build the image and start Kafka, the topics, Redis, engine and API; PROFILES adds more
	docker compose $(PROFILES:%=--profile %) up --build --detach

up-all: ## The same, with a producer, Kafka UI, Redis Insight, Prometheus, Alertmanager, Grafana
	docker compose $(ALL_PROFILES:%=--profile %) up --build --detach

down: ## Remove the containers; the volumes stay
	docker compose $(ALL_PROFILES:%=--profile %) down

start: ## Start the containers that `stop` stopped; of a profile, with PROFILES
	docker compose $(PROFILES:%=--profile %) start

stop: ## Stop the containers; the engine drains first
	docker compose $(ALL_PROFILES:%=--profile %) stop

status: ## Show the containers and their health
	docker compose $(ALL_PROFILES:%=--profile %) ps --all

logs: ## Follow what the containers say
	docker compose $(ALL_PROFILES:%=--profile %) logs --follow --tail 100

redis-cli: ## Open redis-cli on the containers' Redis
	docker compose exec redis redis-cli

clean: ## Remove the containers and all they kept, and the checkout's caches
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	docker compose $(ALL_PROFILES:%=--profile %) down --volumes --remove-orphans

# --- check ---

test: ## Run the tests; what a real Kafka is needed for is skipped where there is none
	uv run pytest $(ARGS)

lint: ## Style, who may import whom, and the web pages' style and types
	uv run ruff check
	uv run lint-imports
	uv run pytest --quiet tests/dashboard/test_lint.py

format: ## Put every file into the one format
	uv run ruff format
	uv run ruff check --fix

type-check: ## Strict types
	uv run mypy

check: ## What CI runs: format, lint, types, imports, tests
	uv sync
	uv run ruff format --check
	uv run ruff check
	uv run mypy
	uv run lint-imports
	uv run pytest

bench: ## Print what is claimed of speed, each figure beside a baseline of the same run
	uv run plimsoll bench $(ARGS)

# --- write what is derived ---

schema: ## Write schema.graphql from the code
	@# By way of another file: the pages are built from this one, and an install that finds it empty fails.
	uv run plimsoll schema > schema.graphql.new
	mv schema.graphql.new schema.graphql

reference: ## Write docs/reference from the code
	uv run python docs/reference/write.py

figures: ## Draw the figures of docs/RISK-MODEL.md from the bundled closes
	uv run python docs/figures/draw.py

pictures: ## Take the pictures of the README anew, in Chromium
	uv run python docs/pictures/take.py

dashboards: ## Write Grafana's dashboards from their source
	uv run python deploy/grafana/write.py

rules: ## Write Prometheus's rules as the Prometheus Operator has them
	uv run python deploy/kubernetes/rules.py > rules.yaml.new
	mv rules.yaml.new deploy/kubernetes/components/prometheus-operator/rules.yaml

lock: ## Write requirements.lock: every version with its hashes, and no address
	uv export --quiet --no-dev --no-emit-project --no-header --no-annotate --format requirements-txt \
		--output-file requirements.lock
	@if grep -n '://' requirements.lock; then echo "requirements.lock names an address"; exit 1; fi

notices: ## Write THIRD-PARTY.md: whose work is in here, and under which licence
	uv run python release/notices.py

# --- a release: docs/RELEASING.md ---

dist: ## Build the source distribution, and from it the wheel, into dist
	uv build --clear

sbom: ## Write the bills of materials (CycloneDX) of what is installed and of the pages into build/sbom
	uv run python release/sbom.py build/sbom
