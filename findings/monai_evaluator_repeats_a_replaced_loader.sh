#!/usr/bin/env bash
# A MONAI evaluator whose data_loader is replaced runs the new one as often as the old one was long.
#
# Guess: evaluator.data_loader is what evaluator.run() iterates, so after replacing it by a loader of
#   one case, a run is one iteration.
# Behaviour: the evaluator takes the number of iterations, state.epoch_length, from the loader that it
#   is made with, and no run asks the new loader for its length. Ignite starts a loader again when it
#   is exhausted, so a loader of one case is iterated as often as the first one had batches. Every
#   output is computed and saved that often, results stay right, and nothing is said: the warning
#   about exhausted data is for runs of unknown length only. The other way, of a longer new loader
#   only the first batches are run, also without a word. evaluator.state.epoch_length = n solves it.
# Versions: monai 1.6.1, pytorch-ignite 0.5.5, torch 2.13.0 (CPU); Linux x86-64.
# Why it matters: to go on after a bad scan, each case is given to the evaluator by itself. Inference
#   on N scans then takes N * N passes through the network, and no mask shows it; with a longer
#   loader, scans are left out.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  monai==1.6.1 torch==2.13.0 pytorch-ignite==0.5.5 numpy==2.4.6 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
python3 - <<'PYTHON'
import logging
import warnings

import ignite
import monai
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator


class Network(torch.nn.Module):
    runs = 0

    def forward(self, image):
        self.runs += 1
        return image


def loader(cases):
    return DataLoader(Dataset([{"image": torch.zeros(1, 4, 4, 4)} for _ in range(cases)]))


def runs(first, second, set_length=False):
    """How often the network runs on a second loader."""
    network = Network()
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=loader(first), network=network
    )
    evaluator.data_loader = loader(second)
    if set_length:
        evaluator.state.epoch_length = second
    evaluator.run()
    return network.runs


logging.disable(logging.INFO)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    shorter, longer, told = runs(4, 1), runs(4, 10), runs(4, 1, set_length=True)
said = [str(w.message) for w in said if "iterator" in str(w.message) or "length" in str(w.message)]
print(f"monai {monai.__version__}, pytorch-ignite {ignite.__version__}, torch {torch.__version__}")
print(f"made with 4 cases, given 1: the network runs {shorter} times")
print(f"made with 4 cases, given 10: the network runs {longer} times")
print(f"made with 4 cases, given 1, state.epoch_length = 1: {told}")
print(f"warnings about it: {said}")
assert (shorter, longer, told, said) == (4, 4, 1, []), "the behaviour has changed"
PYTHON
