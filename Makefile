# Every target makes what it needs: the virtual environment, the packages of the hashed lock, Millrace itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-slow mutants lint files lock benchmarks clean

run: $(VENV)/runtime
	$(BIN)/millrace run

test: $(VENV)/development
	$(BIN)/pytest -m "not slow" -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/development
	$(BIN)/pytest -m slow -n auto --dist loadfile --no-loadscope-reorder

# Options go into MUTANTS: make mutants MUTANTS="--seed 2 --count 50 data/dedup"
mutants: $(VENV)/development
	$(BIN)/python tests/mutants.py $(MUTANTS)

lint: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

files:
	$(PYTHON) docs/file_list.py

# After a change of dependencies in pyproject.toml; `pip install uv` first.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra s3 --extra gcs --extra huggingface -c requirements.lock pyproject.toml -o requirements-cluster.lock

benchmarks: $(VENV)/development
	$(BIN)/python benchmarks/orchestration.py

$(VENV)/runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "got $$($(PYTHON) --version), expected Python 3.11 or newer; name one: make run PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "this Python cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/development: requirements-dev.lock $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
