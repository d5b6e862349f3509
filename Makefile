PYTHON ?= python3
BIN := .venv/bin
CONFIGS := bundles/agmr_net/configs
FIRST := data/first
DEMO := data/simulated
SHIPPED := mscsa_default/whole_brain mscsa_default/diffusion agmr_net/whole_brain   # weights
RUN := runs/agmr_net/demo/fold0
SLOW := real or label or zoo or ranks or browser or federated or wheel or kill or fuzz or web   # markers of tests with a target of their own
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations=10
BUNDLE = $(BIN)/python -m monai.bundle run $(1) --bundle_root bundles/agmr_net \
	--config_file "['$(CONFIGS)/$(2).yaml','$(CONFIGS)/demo.yaml']" --dataset_dir $(DEMO)

# Snakemake clashes with newer `packaging`: an environment of its own, which the command looks for.
.snakemake-venv/installed: Makefile
	$(PYTHON) -m venv .snakemake-venv
	.snakemake-venv/bin/python -m pip install --quiet snakemake==9.27.1 snakemake-executor-plugin-slurm==2.8.0
	touch $@

# MONAI Label asks for numpy < 2 and, by pydicom-seg, for an old jsonschema; this set of versions is
# tested with it, without what is not used here (SAM 2, torchvision, mlflow, OpenSlide).
.label-venv/installed: label-requirements.txt Makefile
	$(PYTHON) -m venv .label-venv
	.label-venv/bin/python -m pip install --quiet --no-compile torch==2.13.0
	.label-venv/bin/python -m pip install --quiet --no-compile --no-deps --requirement label-requirements.txt
	touch $@

# The site has an environment of its own: nobody who uses the package needs MkDocs.
.docs-venv/installed: Makefile
	$(PYTHON) -m venv .docs-venv
	.docs-venv/bin/python -m pip install --quiet mkdocs==1.6.1 mkdocs-material==9.8.1
	touch $@

# A bill of materials of the tested environment, in CycloneDX, by a tool with an environment of its own.
.sbom-venv/installed: Makefile
	$(PYTHON) -m venv .sbom-venv
	.sbom-venv/bin/python -m pip install --quiet cyclonedx-bom==7.3.1
	touch $@

# The wheel and the source archive are built and checked by tools that nobody else needs.
.build-venv/installed: Makefile
	$(PYTHON) -m venv .build-venv
	.build-venv/bin/python -m pip install --quiet build==1.6.1 twine==7.0.0 check-wheel-contents==0.6.3 bids-validator-deno==3.0.2
	touch $@

# NVFlare has many dependencies that nothing else here uses.
.federated-venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .federated-venv
	.federated-venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[federated]"
	touch $@

.PHONY: help install demo methods reproduce-env label-env browser-env sbom rehearsal bench federated weights test test-label test-zoo test-plan test-ranks test-federated test-wheel test-real test-browser test-web test-kill test-fuzz web soak docs lint clean

help:
	@echo "make install    the environment .venv alone"
	@echo "make demo       segment a simulated patient; then train, infer, evaluate and report"
	@echo "make methods    train and evaluate all eleven methods briefly, and print one table"
	@echo "make rehearsal  all twelve tables and seven figures on simulated patients, in docs/rehearsal"
	@echo "make bench      all tables with narrow networks on simulated patients: 5 hours on two cores, 15 without bfloat16"
	@echo "make federated  agmr_net trained by two simulated hospitals that share no scan (NVFlare)"
	@echo "make weights    make the shipped weights again, from MASKS='folder folder' ANATOMIES=folder"
	@echo "make test       the test suite"
	@echo "make test-label MONAI Label with every bundle, over REST, in an environment of its own"
	@echo "make test-zoo   every bundle exported to TorchScript and ONNX, and packed"
	@echo "make test-plan  the plan of MSCSA's Table 1, tiny, to its end"
	@echo "make test-ranks every bundle trained in two processes"
	@echo "make test-federated  two simulated hospitals, one network: the mean of both"
	@echo "make test-wheel the wheel in an environment of its own: it predicts as the clone does"
	@echo "make test-real  the smoke test on real patients in STROKE_NETS_REAL_DATA"
	@echo "make test-browser  the pages of a prediction in Chromium (apt-get install chromium)"
	@echo "make web        the browser page, in web/dist (npm, Node.js 20.19 or later)"
	@echo "make test-web   its steps in Node and the page in Chromium, beside predict"
	@echo "make test-fuzz  headers, manifests, sidecars and options with random changes (Hypothesis)"
	@echo "make test-kill  commands killed at every write, and given again"
	@echo "make docs       this documentation as a site, in build/site"
	@echo "make sbom       sbom.json: every installed package, its version and licence (CycloneDX)"
	@echo "make lint       ruff, mypy, shared blocks"
	@echo "make soak       kill tiny trainings 50 times; disturb 200 predictions; nothing may be lost"

# The last package is nnU-Net's networks, to compare with; what it asks for (timm, torchvision) is
# for transformers that are not used here.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	# their metadata ask for torchvision, which would replace the pinned PyTorch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps pytorchcv dynamic-network-architectures
	touch $@

# drives the system's Chromium, for the tests of the pages
.venv/browser: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[browser]"
	touch $@

install: .venv/installed

demo: .venv/installed
	$(BIN)/stroke-nets simulate $(FIRST) --subjects 1 --seed 7
	$(BIN)/stroke-nets predict $(FIRST) runs/first
	@echo "the report of this simulated patient: open runs/first/index.html; now a training, a few minutes long"
	$(BIN)/stroke-nets simulate $(DEMO) --plain --subjects 20 --seed 0
	$(call BUNDLE,training,train) --overwrite true
	$(call BUNDLE,inference,inference) --overwrite true
	$(call BUNDLE,evaluating,evaluate)
	$(BIN)/stroke-nets report $(RUN) --dataset-dir $(DEMO)

methods: .venv/installed
	$(BIN)/python examples/all_methods.py data/methods

reproduce-env: .snakemake-venv/installed

label-env: .label-venv/installed

rehearsal: .venv/installed reproduce-env
	$(BIN)/stroke-nets reproduce all --scale demo --out docs/rehearsal --resume

bench: .venv/installed reproduce-env
	$(BIN)/stroke-nets reproduce all --scale bench --out docs/bench --resume

federated: .federated-venv/installed
	for site in 1 2; do \
	  .federated-venv/bin/stroke-nets simulate data/federated/site-$$site --plain --subjects 4 --seed $$site; done
	.federated-venv/bin/python examples/federated/job.py data/federated runs/federated

# neither is shipped: MASKS are folders of lesion masks in MNI space, ANATOMIES one of label maps
data/sources/sources.json: | .venv/installed
	$(BIN)/python examples/train_weights.py prepare data/sources $(ANATOMIES) $(MASKS)

# given again, it goes on where it was interrupted
weights: $(SHIPPED:%=runs/tried/%/published)

runs/tried/%/published: data/sources/sources.json
	$(BIN)/python examples/train_weights.py train $(subst /,:,$*) data/sources
	$(BIN)/python examples/try_weights.py simulated $(subst /,:,$*) $(@D) data/sources runs/$*/fold0/checkpoints/last.pt
	$(BIN)/python examples/train_weights.py publish $(subst /,:,$*) $(@D)
	touch $@

# starts from those for T1w
runs/tried/mscsa_default/diffusion/published: runs/tried/mscsa_default/whole_brain/published

browser-env: .venv/browser

test: .venv/installed
	$(TESTS) -m "not ($(SLOW))" --numprocesses auto --dist loadfile

test-label: .venv/installed label-env
	$(TESTS) -m label -rs tests/monai_label

test-zoo: .venv/installed
	$(TESTS) -m zoo tests/bundles tests/packing

test-plan: .venv/installed
	$(TESTS) -m zoo tests/papers

test-ranks: .venv/installed
	$(TESTS) -m ranks tests/bundles

test-federated: .venv/installed .federated-venv/installed
	$(TESTS) -m federated -rs tests/test_federated.py

# the wheel is tried in a new environment each time, outside of the clone
test-wheel: .venv/installed .build-venv/installed
	rm -rf build/wheel
	.build-venv/bin/python -m build --outdir build/wheel
	.build-venv/bin/twine check --strict build/wheel/*
	.build-venv/bin/check-wheel-contents build/wheel/*.whl
	$(PYTHON) -m venv --clear .wheel-venv
	.wheel-venv/bin/python -m pip install --quiet --no-compile --constraint constraints.txt build/wheel/*.whl
	du -sm .wheel-venv
	$(TESTS) -m wheel -rs tests/wheel

test-real: .venv/installed
	$(TESTS) -m real -rs tests/real

test-fuzz: .venv/installed
	$(TESTS) -m fuzz tests/fuzz

test-kill: .venv/installed
	$(TESTS) -m kill tests/kill

# the page serves the default method with its published weights
web: .venv/installed
	rm -rf web/network build/web
	$(BIN)/stroke-nets pack mscsa_default build/web --web
	cp -r build/web/* web/network
	cd web && npm ci --silent --no-fund --no-audit && npm run --silent build

test-web: .venv/installed browser-env
	cd web && npm run --silent test
	$(TESTS) -m web -rs tests/web

test-browser: .venv/installed browser-env
	$(TESTS) -m browser -rs tests/browser

soak: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/soak_predict.py

docs: .docs-venv/installed
	NO_MKDOCS_2_WARNING=1 .docs-venv/bin/mkdocs build --strict --quiet
	@echo "look at it: python -m http.server --directory build/site"

sbom: .venv/installed .sbom-venv/installed
	.sbom-venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python bundles/sync.py --check

clean:
	rm -rf .venv .build-venv .wheel-venv build *.egg-info
