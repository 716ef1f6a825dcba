# `make demo` and `make test` are all a newcomer needs; everything below `.venv` is made on demand.
PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= auto
BIN    := $(VENV)/bin
MINOR   = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

.PHONY: demo serve test test-fast check bench docs lock clean system

$(VENV)/.installed: pyproject.toml constraints/py3.11.txt constraints/py3.12.txt constraints/py3.13.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/py$(MINOR).txt --editable '.[demo]'
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints/py$(MINOR).txt --editable '.[test]'
	tools/lambda-emulator $(BIN)/python
	touch $@

demo: $(VENV)/.installed  ## start lightwell, import sample studies, print a snippet that works
	@$(BIN)/lightwell demo $(ARGS)

serve: $(VENV)/.installed  ## start lightwell on ./lightwell-data
	@$(BIN)/lightwell serve $(ARGS)

system:  ## Debian packages that the tests need
	tools/system-packages

test: system check  ## everything, against real components
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-fast: $(VENV)/.tested  ## without the long runs
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

check: $(VENV)/.tested  ## ruff, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.tested  ## measure against Orthanc and nginx; writes docs/performance.md
	$(BIN)/python -m bench.run $(ARGS)

docs: $(VENV)/.tested  ## generate the reference pages from the code
	$(BIN)/python tools/reference.py

lock: $(VENV)/.tested  ## write constraints/pyX.Y.txt for the interpreter of this venv
	tools/lock $(BIN)/python constraints/py$(MINOR).txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
