# Every target sets itself up; a machine needs Python >= 3.11 and make, nothing else.
#   make demo        train a small network and draw one page of results, in demo/
#   make test        the test suite          make test-slow   its long tests (FUZZ=10: more of it)
#   make test-extras its tests beside PyTorch, Sionna, QuaDRiGa, DeepMIMO, ONNX, TPU, GPU (some GB)
#   make lint        ruff and mypy           make bench       speed of this machine
#   make docs        the documentation site, in site/
#   make notebooks   two examples as notebooks, run
#   make clean       remove everything that make and Python left here

# The first of these that is new enough and can make virtual environments.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13; do \
  $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
    2>/dev/null && echo $$python && break; done)

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed-from-constraints
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
# XLA on CPUs prints pages about programs it finds in that cache.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-slow test-extras lint bench docs notebooks clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(RUN) -m launch.demo --out=demo

test: $(READY)
	$(RUN) -m pytest -q -n 2 --dist loadfile

test-slow: $(READY)
	$(RUN) -m pytest -q -n 2 --dist loadgroup -m slow --durations=15

lint: $(READY)
	$(RUN) -m ruff check
	$(RUN) -m mypy

# An environment of its own: with libtpu in reach JAX looks for a TPU first.
test-extras: $(READY)
	@$(VENV)-extras/bin/python -m pip --version >/dev/null 2>&1 \
	  || $(RUN) -m venv --clear $(VENV)-extras
	$(VENV)-extras/bin/python $(PIP_INSTALL) --editable '.[test,bench,sscc,files,tpu,export,notebooks]'
	$(VENV)-extras/bin/python $(PIP_INSTALL) --no-deps deepmimo
	JAX_PLATFORMS=cpu $(VENV)-extras/bin/python -m pytest -q \
	  tests/test_torch_peer.py tests/test_tpu_cost.py tests/test_sscc.py \
	  tests/test_sionna_uma.py tests/test_quadriga_lib.py tests/test_deepmimo_lib.py \
	  tests/test_export.py
	JAX_PLATFORMS=cpu $(VENV)-extras/bin/python -m pytest -q -m slow tests/test_reproduce.py \
	  tests/test_deploy.py tests/test_examples.py::test_onnx_halves \
	  tests/test_examples.py::test_notebooks_that_are_made_of_them_run

docs: $(READY)
	$(RUN) $(PIP_INSTALL) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs --quiet build --strict
	@echo 'done: open site/index.html'

notebooks: $(READY)
	$(RUN) $(PIP_INSTALL) --editable '.[notebooks]'
	$(RUN) -m jupytext --quiet --to ipynb --set-kernel python3 --execute \
	  examples/site_to_nmse.py examples/own_attention.py

bench: $(READY)
	$(RUN) $(PIP_INSTALL) --editable '.[bench]'
	$(RUN) -m benchmarks.run

clean:
	rm -rf $(VENV) $(VENV)-extras .cache .pytest_cache .ruff_cache .mypy_cache build dist *.egg-info demo site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Written last, so an interrupted installation is taken up again by the next call.
$(READY): setup.cfg pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'error: found no Python >= 3.11 with its venv module;' \
	  'install one (Debian, Ubuntu: python3 python3-venv) or name it: make PYTHON=/path/to/python3' \
	  >&2; exit 1; }
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) $(PIP_INSTALL) --editable '.[test,dev]'
	@touch $@
