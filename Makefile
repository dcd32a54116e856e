# Everything runs in .venv, made on first use. ARGS are passed on: make demo ARGS="--images 3"

VENV ?= .venv
PYTHON ?= python3
# Processes that share the tests; pytest by hand uses one.
WORKERS ?= 2
MASKS ?= .twinveil/masks
READY := $(VENV)/.ready
NATIVE := $(wildcard twinveil/*/native/*.[ch] twinveil/*/native/*.inc)

.PHONY: demo test quick check stubs bench masks clean

demo: $(READY)
	$(VENV)/bin/twinveil demo $(ARGS)

test: $(READY)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

quick: $(READY)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m 'not (heavy or system or slow)' $(ARGS)

check: $(READY)
	PYTHON=$(VENV)/bin/python scripts/check

stubs: $(READY)
	PYTHON=$(VENV)/bin/python scripts/stubs

bench: $(READY)
	$(VENV)/bin/twinveil bench $(ARGS)

masks: $(READY)
	$(VENV)/bin/twinveil mask train --folder $(MASKS) $(ARGS)
	$(VENV)/bin/twinveil mask select --folder $(MASKS)

$(READY): pyproject.toml setup.py constraints.txt $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[bench,dask,dev,owner,page]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info twinveil/*/native/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
