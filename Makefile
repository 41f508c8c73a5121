# Two commands: `make search` runs the main job, `make test` the tests. Both set everything up first; done once, that is quick.
# The first Python >= 3.11 that really runs: a name on the PATH may be a version manager's shim with nothing behind it.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { command -v $$p; break; }; done)
BIN := .venv/bin
# Two stamps: what a search needs is installed; and what the tests and the style checks need beside it.
INSTALLED := .venv/.installed
READY := .venv/.ready
# And what the site of docs/ needs.
WRITING := .venv/.docs
ARGS ?=
# Processes that share the fast tests; real searches take the whole machine, one after the other.
JOBS ?= 2
FAST := not slow and not ray and not long and not cluster

.PHONY: setup browser services search test test-all test-cluster test-fast package lint format manual docs clean
setup: $(READY)

# uv where it is there (a tenth of the time), plain venv + pip elsewhere. The stamps make it a no-op until pyproject.toml changes.
define install
	@test -n "$(PYTHON)" || { echo "Makefile: Python >= 3.11 is required, got $$(python3 --version 2>&1). Set another one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@if command -v uv >/dev/null; then \
		uv venv --allow-existing --python "$(PYTHON)" .venv && uv pip install --python $(BIN)/python -e '$(1)'; \
	else \
		$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --editable '$(1)'; \
	fi
	@touch $(2)
endef

$(INSTALLED): pyproject.toml
	$(call install,.,$(INSTALLED))

$(READY): pyproject.toml
	$(call install,.[dev],$(INSTALLED) $(READY))

$(WRITING): pyproject.toml
	$(call install,.[docs],$(INSTALLED) $(WRITING))

# The browser that the report's and TensorBoard's tests open pages in; without it they are skipped. Debian's, as root or with sudo.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	{ S=$$([ "$$(id -u)" = 0 ] || echo sudo); $$S apt-get update -q && $$S apt-get install -y -q chromium chromium-driver; }

# The database server that the tests of shared studies start one of their own from; without it those are skipped.
services:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	{ S=$$([ "$$(id -u)" = 0 ] || echo sudo); $$S apt-get update -q && $$S apt-get install -y -q --no-install-recommends postgresql; }

# The main job: 24 trials of space=imixer on the embedded digits. More words: make search ARGS='trials=48 sampler=gp'
search: $(INSTALLED)
	$(BIN)/python -m hopsearch.tune space=imixer $(ARGS)

test: $(READY)
ifeq ($(ARGS),)
	$(BIN)/python -m pytest -n $(JOBS) -m '$(FAST)'
	$(BIN)/python -m pytest -m '(slow or ray) and not long and not cluster'
else
	$(BIN)/python -m pytest -m 'not long and not cluster' $(ARGS)
endif

# With the trainings that take minutes each.
test-all: $(READY)
	$(BIN)/python -m pytest $(or $(ARGS),-m 'not cluster')

# `ray up` for real, on machines made of Linux namespaces: needs root, and installs sshd, rsync and nftables where they are missing.
test-cluster: $(READY)
	sh tests/cloud/setup.sh
	$(BIN)/python -m pytest -m cluster -s -x $(ARGS)

test-fast: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m '$(FAST)' $(ARGS)

# The wheel and the sdist, built, installed and used in an environment of its own. `make test-all` has it too.
package: $(READY)
	$(BIN)/python -m pytest tests/test_package.py $(ARGS)

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

# What --help prints, anew, after a setting has changed: it is kept in files so that it comes at once.
manual: $(READY)
	$(BIN)/python -m tests.test_help

# The pages as a site in site/, built without a network; any warning is an error.
docs: $(WRITING)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)
	@echo "site/index.html; with its search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

clean:
	rm -rf site .venv build dist .mypy_cache .ruff_cache .pytest_cache
