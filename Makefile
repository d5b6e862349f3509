PYTHON ?= python3
BIN := .venv/bin
CONFIGS := bundles/agmr_net/configs
DEMO := data/simulated
RUN := runs/agmr_net/demo/fold0
BUNDLE = $(BIN)/python -m monai.bundle run $(1) --bundle_root bundles/agmr_net \
	--config_file "['$(CONFIGS)/$(2).yaml','$(CONFIGS)/demo.yaml']" --dataset_dir $(DEMO)

.PHONY: help demo test test-real lint clean

help:
	@echo "make demo       train, predict, evaluate and report on simulated patients"
	@echo "make test       the test suite"
	@echo "make test-real  the smoke test on real patients in STROKE_NETS_REAL_DATA"
	@echo "make lint       ruff, mypy, shared blocks"

# The last package is nnU-Net's networks, to compare with; what it asks for (timm, torchvision) is
# for transformers that are not used here.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps dynamic-network-architectures
	touch $@

demo: .venv/installed
	$(BIN)/stroke-nets simulate $(DEMO) --subjects 20 --seed 0
	$(call BUNDLE,training,train) --overwrite true
	$(call BUNDLE,inference,inference)
	$(call BUNDLE,evaluating,evaluate)
	$(BIN)/stroke-nets report $(RUN) --dataset-dir $(DEMO)

test: .venv/installed
	$(BIN)/python -m pytest -m "not real"

test-real: .venv/installed
	$(BIN)/python -m pytest -m real -rs

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python bundles/_shared/sync.py --check

clean:
	rm -rf .venv build *.egg-info
