# Two commands: `make search` runs the main job, `make test` the tests. Both set everything up first; done once, that is quick.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin
READY := .venv/.ready
ARGS ?=

.PHONY: setup search test test-fast lint format clean
setup: $(READY)

# uv where it is there (a tenth of the time), plain venv + pip elsewhere. The stamp makes it a no-op until pyproject.toml changes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Makefile: Python >= 3.11 must be there, got $$($(PYTHON) --version). Give another one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@if command -v uv >/dev/null; then \
		uv venv --allow-existing --python "$(PYTHON)" .venv && uv pip install --python $(BIN)/python -e '.[dev]'; \
	else \
		$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --editable '.[dev]'; \
	fi
	@touch $@

# The main job: 24 trials of space=imixer on the embedded digits. More words: make search ARGS='trials=48 sampler=gp'
search: $(READY)
	$(BIN)/python -m hopsearch.tune space=imixer $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

test-fast: $(READY)
	$(BIN)/python -m pytest -m 'not slow and not ray' $(ARGS)

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
