#!/usr/bin/env bash
# In bfloat16 on a CPU with AVX-512, PyTorch's gradient of a 3D convolution's weights is wrong for two slices.
#
# Guess: under torch.autocast("cpu", torch.bfloat16), the gradient of nn.Conv3d's weights is that of
#   float32 up to rounding, 1 part in 256, whatever the size of the volume.
# Behaviour: for a volume of fewer slices than the kernel, but more than one (here 2 slices, kernel 3,
#   padding 1), the gradient of the weights has nothing to do with the right one: it differs by about
#   its own size, changes from run to run, and is nan where memory that was not written happens to
#   hold nan. Output and gradient of the input are right, as are 1 and 3 slices, the same volume with
#   its short side last, float32, and oneDNN told to use AVX2 (ONEDNN_MAX_CPU_ISA=AVX2).
#   Nothing warns.
# Versions: torch 2.13.0 (CPU), its oneDNN; Linux x86-64, processor with AVX-512.
# Why it matters: 2D/3D hybrids take stacks of four slices, and their 3D branches pool them to two;
#   3D U-Nets reach two slices at the bottom for small patches. Such networks train by wrong
#   gradients, or end in nan after some steps, which looks like a learning rate that is too high.
#   Leaving these convolutions in float32 solves it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  torch==2.13.0 numpy==2.4.6 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
cat > gradients.py <<'PYTHON'
import torch

torch.manual_seed(0)


def error(slices, turned=False):
    """Largest error of bfloat16's gradients beside float64's, as a part of the largest value."""
    convolution = torch.nn.Conv3d(16, 32, 3, padding=1, bias=False)
    volume = torch.randn(4, 16, slices, 24, 24)
    volume = (volume.transpose(2, 4) if turned else volume).contiguous().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = convolution(volume)
    pull = torch.randn_like(output)
    weights, inputs = torch.autograd.grad(output, [convolution.weight, volume], pull)
    exact = torch.nn.functional.conv3d(volume.double(), convolution.weight.double(), padding=1)
    right = torch.autograd.grad(exact, [convolution.weight, volume], pull.double())
    found = []
    for one, other in zip((weights, inputs), right, strict=True):
        apart = torch.nan_to_num((one - other).abs(), nan=1e9).max() / other.abs().max()
        found.append(float(apart))
    return found


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
for name, case in {"1 slice": (1,), "2 slices": (2,), "3 slices": (3,), "2, last": (2, True)}.items():
    weights, inputs = error(*case)
    print(f"{name}: weights {weights:.3g}, input {inputs:.3g}")
    print("FOUND", name, weights > 0.5, inputs > 0.02)
PYTHON
wrong() { grep -c "FOUND 2 slices True False" <<< "$1" || true; }
right() { grep -cE "FOUND .* False False" <<< "$1" || true; }
avx2=$(ONEDNN_MAX_CPU_ISA=AVX2 python3 gradients.py)
echo "with ONEDNN_MAX_CPU_ISA=AVX2:"; grep -v FOUND <<< "$avx2"
[ "$(right "$avx2")" = 4 ] || { echo "the behaviour has changed"; exit 1; }
if ! grep -q avx512bw /proc/cpuinfo; then
  echo "this processor has no AVX-512: only the right half can be seen here"; exit 0
fi
own=$(python3 gradients.py)
echo "by itself:"; grep -v FOUND <<< "$own"
[ "$(wrong "$own")" = 1 ] && [ "$(right "$own")" = 3 ] || { echo "the behaviour has changed"; exit 1; }
