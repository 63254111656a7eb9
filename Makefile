# Two commands on a fresh machine: `make demo` and `make test`. Both install into .venv first.
PYTHON ?= python3
BIN := .venv/bin

# A Hub name or a local path protects something else than the generated set, for example
#   make demo DATASET=uoft-cs/cifar10 SURROGATE=openai/clip-vit-base-patch32
DEMO_OPTIONS = $(if $(DATASET),--dataset $(DATASET)) $(if $(SURROGATE),--surrogate $(SURROGATE)) \
	$(if $(SURROGATE_SIZE),--surrogate-size $(SURROGATE_SIZE)) $(if $(STEPS),--steps $(STEPS))

.PHONY: demo test check format

demo: .venv/installed
	$(BIN)/uc-hf demo --out demo $(DEMO_OPTIONS)

test: .venv/installed
	$(BIN)/python -m pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
