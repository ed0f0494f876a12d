.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv with everything that demo, dev and the tests need

$(READY): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Longhaul needs Python 3.11 or newer, found " + sys.version)'
	@echo "Installing into .venv; the first time this takes a minute or two …"
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.txt
	@touch $@

demo: $(READY) ## Read a mailbox, delete 5 000 receipts with their attachments, and prove it
	$(BIN)/python -m service demo

dev: $(READY) ## Start everything and keep it running, with an address and a token to try
	$(BIN)/python -m service dev

test: $(READY) ## Run the tests (about five minutes on two cores)
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not scale and not chaos and not page"

page: $(READY) ## Try the page in a real browser, which is Debian's chromium (less than 6 minutes)
	$(BIN)/python -m pytest -n 2 -m page --timeout=300

screenshots: $(READY) ## Make a picture of each view in each guise, in .local/screenshots
	SCREENSHOTS=.local/screenshots $(BIN)/python -m pytest -n 2 -m page -k screenshots --timeout=300
	@echo "They are in .local/screenshots"

scale: $(READY) ## Run the long tests: kills, races, a million rows (less than 30 minutes)
	$(BIN)/python -m pytest -m scale --timeout=900

chaos: $(READY) ## Many jobs under many faults: CHAOS_SECONDS=900 CHAOS_SEED=1 make chaos
	$(BIN)/python -m pytest -m chaos

lint: $(READY) ## Check style, types and the imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) .venv/.bench ## Run benchmarks (see bench/README.md): make bench PARTS="drain send" KEEP=1
	$(BIN)/python -m bench $(if $(KEEP),--keep) $(PARTS)

.venv/.bench: bench/requirements.txt $(READY)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement bench/requirements.txt
	@touch $@

psql: ## Open psql on the database of make dev, or on DATABASE_URL
	@test -x $(BIN)/python || { echo "Nothing is installed yet: make setup"; exit 1; }
	@$(BIN)/python -m service psql

schema: $(READY) ## Regenerate sql/schema.sql from the migrations
	$(BIN)/python -m service.local.schema

lock: $(READY) ## Compile both requirements files from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml --group dev -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --group bench -c requirements-dev.txt -o bench/requirements.txt

.PHONY: help setup demo dev test page screenshots scale chaos lint bench psql schema lock
