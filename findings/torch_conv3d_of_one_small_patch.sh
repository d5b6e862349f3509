#!/usr/bin/env bash
# On a CPU, the first 3D convolution of one patch can take as long as that of two; its axes' order decides.
#
# Guess: PyTorch's float32 convolutions are oneDNN's on an x86 CPU, whatever the batch; a patch costs half of two.
# Behaviour: for one volume whose channels x depth x height are at most 20480 (the width does not count),
#   and a kernel of 3, PyTorch takes its own convolution (im2col and a matrix product) instead. A patch of
#   128 x 128 x 128 with one channel, as nnU-Net cuts it, takes about as long as two in one batch; the
#   same voxels with the axes turned, 192 x 128 x 64 instead of 64 x 128 x 192, go to oneDNN. Deeper layers
#   with few pixels (32 channels of 20 x 24 x 20) do so too, in training as well as in inference.
# Versions: torch 2.13.0 (CPU); Linux x86-64, AMD EPYC with AVX2.
# Why it matters: sliding windows with a batch of one, the usual way on a CPU, pay for it in each window.
#   Two windows at once, or the long axes first, avoid it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  torch==2.13.0 numpy==2.4.6 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
cat > times.py <<'PYTHON'
import time

import torch

torch.manual_seed(0)
print("torch", torch.__version__)
layer = torch.nn.Conv3d(1, 8, 3, padding=1)


def seconds(*shape):
    """Processor seconds for each volume, the least of five, and whether oneDNN computed them."""
    volumes, found = torch.randn(shape), []
    with torch.inference_mode():
        with torch.profiler.profile() as seen:
            layer(volumes)
        for _ in range(5):
            start = time.process_time()
            layer(volumes)
            found.append(time.process_time() - start)
    fast = any(event.key == "aten::mkldnn_convolution" for event in seen.key_averages())
    print(shape, f"{min(found) / shape[0]:.3f} s each,", "oneDNN" if fast else "not oneDNN")
    return min(found), fast


(one, of_one), (two, of_two) = seconds(1, 1, 128, 128, 128), seconds(2, 1, 128, 128, 128)
(_, short_first), (_, long_first) = seconds(1, 1, 64, 128, 192), seconds(1, 1, 192, 128, 64)
print(f"one patch takes {one / two:.2f} times as long as two together")
print("FOUND", of_one, of_two, short_first, long_first, one > 0.7 * two)
PYTHON
found=$(python3 times.py 2> /dev/null)
grep -v FOUND <<< "$found"
grep -q "FOUND False True False True True" <<< "$found" || { echo "the behaviour has changed"; exit 1; }
