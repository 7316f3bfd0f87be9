# SPDX-License-Identifier: Apache-2.0
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COLLECTIONS := $(CURDIR)/$(VENV)/collections
COLLECTION := $(COLLECTIONS)/ansible_collections/fedcloud/oscar
export XDG_CACHE_HOME ?= $(HOME)/.cache
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)
export ANSIBLE_LOCALHOST_WARNING := false
export ANSIBLE_INVENTORY_UNPARSED_WARNING := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What is compiled once need not be compiled by each of the processes that tests start.
unexport PYTHONDONTWRITEBYTECODE
PYTEST_ARGS ?=
BENCH ?=
SOAK_MINUTES ?= 30
NEWEST_PYTHON ?= 3.13
TIER ?= full
# All tests of the site also need versions to upgrade from and to.
SITE_PARTS ?= minio kubernetes-api site$(if $(filter smoke,$(TIER)),, upgrade)

.DEFAULT_GOAL := help
.PHONY: help quickstart stop check parts test test-newest install-test lint docs sanity site-parts site-up site-status site-down test-site scale-parts test-scale chaos soak molecule bench release clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

$(VENV)/.ansible:
	@PYTHON="$(PYTHON)" tools/check-tools.sh quickstart
	@echo "Making $(VENV) with Ansible (once) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/pip install --quiet 'ansible-core>=2.16'
	@mkdir -p $(dir $(COLLECTION))
	@ln -sfn "$(CURDIR)" $(COLLECTION)
	@touch $@

$(VENV)/.dev: $(VENV)/.ansible pyproject.toml
	@echo "Adding the project and its test tools to $(VENV) ..."
	@$(BIN)/pip install --quiet --editable '.[standalone,kubernetes,postgresql,test,lint]'
	@touch $@

quickstart: $(VENV)/.ansible  ## start a server on this machine and run a picture through it
	@$(BIN)/ansible-playbook fedcloud.oscar.quickstart

stop:  ## stop the server of the quickstart (its data is kept)
	@$${XDG_DATA_HOME:-$$HOME/.local/share}/oscar-standalone/software/current/bin/oscar-standalone stop

check:  ## say what is missing on this machine for the tests
	@PYTHON="$(PYTHON)" tools/check-tools.sh test

parts: check  ## build the real servers that the tests use (once)
	@"$(PYTHON)" tools/build_parts.py minio kubernetes-api

test: parts $(VENV)/.dev  ## all unit and integration tests
	@$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	@echo "Next: make lint, make install-test"

# The daemons run on Python 3.11 and newer: the unit tests also on the newest one, where it is installed.
test-newest: $(VENV)/.dev  ## unit tests on the newest Python that is supported, where this machine has it
	@tools/test-newest.sh $(NEWEST_PYTHON) $(PYTEST_ARGS)

install-test: $(VENV)/.dev  ## install the product as a user does, from nothing, and use it
	@$(BIN)/pytest -m install tests/integration $(PYTEST_ARGS)
	@echo "Next: make release"

lint: $(VENV)/.dev  ## ruff, mypy, yamllint, ansible-lint, antsibull
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --strict
	cd $(COLLECTION) && PATH="$(CURDIR)/$(BIN):$$PATH" antsibull-changelog lint
	cd $(COLLECTION) && PATH="$(CURDIR)/$(BIN):$$PATH" antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .
	@echo "Next: make test"

docs: $(VENV)/.dev  ## build the reference of modules, plugins and roles into build/docsite/html
	@rm -rf build/docsite
	@mkdir -p build/docsite/rst
	@PATH="$(CURDIR)/$(BIN):$$PATH" antsibull-docs collection --use-current --squash-hierarchy --fail-on-error \
		--dest-dir build/docsite/rst fedcloud.oscar
	@$(BIN)/sphinx-build -q -W --keep-going -b html -C -D project=fedcloud.oscar -D html_title=fedcloud.oscar \
		-D extensions=sphinx_antsibull_ext -D suppress_warnings=ref.ref,ref.doc build/docsite/rst build/docsite/html
	@echo "Next: open build/docsite/html/index.html"

sanity: $(VENV)/.dev  ## ansible-test sanity on a copy of the tree
	@ANSIBLE_TEST=$(CURDIR)/$(BIN)/ansible-test tests/sanity.sh
	@echo "Next: make release"

site-parts:
	@PYTHON="$(PYTHON)" tools/check-tools.sh site
	@"$(PYTHON)" tools/build_parts.py $(SITE_PARTS)

site-up: site-parts $(VENV)/.dev  ## start three virtual machines and a mirror of all that they install (root)
	@$(BIN)/python tests/site up

site-status: $(VENV)/.dev  ## show what runs of the test site
	@$(BIN)/python tests/site status

site-down: $(VENV)/.dev  ## stop the test site and throw its machines away (its caches are kept)
	@$(BIN)/python tests/site down

test-site: site-up  ## the whole site on virtual machines, by its playbooks (TIER=smoke for the short way; root)
	@TIER=$(TIER) $(BIN)/pytest -m site --exitfirst tests/site $(PYTEST_ARGS)
	@echo "Next: make site-down"

scale-parts: check
	@"$(PYTHON)" tools/build_parts.py kubernetes-api scale

test-scale: scale-parts $(VENV)/.dev  ## the autoscaler with 1,000 nodes and 30,000 Pods, which kwok plays (SCALE_NODES, SCALE_PODS)
	@$(BIN)/pytest -m scale tests/scale $(PYTEST_ARGS)
	@echo "Next: make bench BENCH=autoscale"

chaos: check $(VENV)/.dev  ## hostile tenants, jumping clocks, failing disks and dying servers (CHAOS_SEED, CHAOS_ROUNDS; root)
	@"$(PYTHON)" tools/build_parts.py clock
	@$(BIN)/pytest -m chaos tests/integration $(PYTEST_ARGS)
	@echo "Next: make soak"

soak: parts $(VENV)/.dev  ## let a site work under load and attacks for SOAK_MINUTES (30), and show whether anything grows
	@$(BIN)/python tests/soak $(SOAK_MINUTES)
	@echo "Next: make bench"

molecule: site-parts $(VENV)/.dev  ## make a whole site, again, reboot it and look at its machines (root)
	@$(BIN)/pip install --quiet --editable '.[site]'
	@PATH="$(CURDIR)/$(BIN):$$PATH" molecule test --scenario-name site

bench: parts scale-parts $(VENV)/.dev  ## measure; the figures go to docs/performance.md
	@$(BIN)/python tests/bench $(BENCH)
	@echo "Next: compare with docs/performance.md"

release: $(VENV)/.dev  ## build the collection's tarball into dist/
	@tools/build-release.sh $(CURDIR)/$(BIN) $(CURDIR)/dist
	@echo "Next: ansible-galaxy collection install dist/fedcloud-oscar-*.tar.gz"

clean:  ## remove what these commands made in the tree (the cache of built servers is kept)
	rm -rf $(VENV) build dist playbooks/files .pytest_cache .mypy_cache .ruff_cache .hypothesis .ansible
	rm -f roles/invoker/files/*.whl
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Next: make quickstart"
