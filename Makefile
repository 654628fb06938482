# Two commands suffice: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
# glibc gives freed memory back to the system on each large free; keeping it makes CPU networks faster.
export MALLOC_TRIM_THRESHOLD_ ?= 1000000000
export MALLOC_MMAP_THRESHOLD_ ?= 1000000000

.PHONY: demo test check format slow clean help

help:  ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medseg needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## segment both hippocampi of a real scan and print where the reports lie
	$(BIN)/medseg demo -o medseg-demo

test: $(STAMP)  ## the tests, without those marked slow
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow and not gpu and not ray and not orthanc and not browser'

slow: $(STAMP)  ## the tests marked slow
	$(BIN)/python -m pytest -q -m slow

check: $(STAMP)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## mend format and what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what make made
	rm -rf .venv medseg-demo dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
