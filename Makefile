# Everything runs in .venv, made on first use. ARGS are passed on: make demo ARGS="--images 3"

VENV ?= .venv
PYTHON ?= python3
MASKS ?= .twinveil/masks
READY := $(VENV)/.ready
NATIVE := $(wildcard twinveil/crypto/native/*.[ch] twinveil/crypto/native/*.inc)

.PHONY: demo test check stubs bench masks clean

demo: $(READY)
	$(VENV)/bin/twinveil demo $(ARGS)

test: $(READY)
	$(VENV)/bin/python -m pytest $(ARGS)

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
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[owner,page,dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info twinveil/crypto/native/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
