PYTHON ?= python3
BIN := .venv/bin
CONFIGS := bundles/agmr_net/configs
DEMO := data/simulated
RUN := runs/agmr_net/demo/fold0
BUNDLE = $(BIN)/python -m monai.bundle run $(1) --bundle_root bundles/agmr_net \
	--config_file "['$(CONFIGS)/$(2).yaml','$(CONFIGS)/demo.yaml']" --dataset_dir $(DEMO)

# Snakemake clashes with newer `packaging`: an environment of its own, which the command looks for.
.snakemake-venv/installed: Makefile
	$(PYTHON) -m venv .snakemake-venv
	.snakemake-venv/bin/python -m pip install --quiet snakemake==9.27.1 snakemake-executor-plugin-slurm==2.8.0
	touch $@

.PHONY: help demo methods reproduce-env rehearsal test test-real lint clean

help:
	@echo "make demo       train, predict, evaluate and report on simulated patients"
	@echo "make methods    train and evaluate all eleven methods briefly, and print one table"
	@echo "make rehearsal  all twelve tables and seven figures on simulated patients, in docs/rehearsal"
	@echo "make test       the test suite"
	@echo "make test-real  the smoke test on real patients in STROKE_NETS_REAL_DATA"
	@echo "make lint       ruff, mypy, shared blocks"
	@echo "make soak       kill tiny trainings 50 times; each must end as an undisturbed one"

# The last package is nnU-Net's networks, to compare with; what it asks for (timm, torchvision) is
# for transformers that are not used here.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	# their metadata ask for torchvision, which would replace the pinned PyTorch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps pytorchcv dynamic-network-architectures
	touch $@

demo: .venv/installed
	$(BIN)/stroke-nets simulate $(DEMO) --plain --subjects 20 --seed 0
	$(call BUNDLE,training,train) --overwrite true
	$(call BUNDLE,inference,inference)
	$(call BUNDLE,evaluating,evaluate)
	$(BIN)/stroke-nets report $(RUN) --dataset-dir $(DEMO)

methods: .venv/installed
	$(BIN)/python examples/all_methods.py data/methods

reproduce-env: .snakemake-venv/installed

rehearsal: .venv/installed reproduce-env
	$(BIN)/stroke-nets reproduce all --scale demo --out docs/rehearsal --resume

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

.PHONY: soak
soak: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py
