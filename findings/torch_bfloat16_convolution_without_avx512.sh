#!/usr/bin/env bash
# Under autocast to bfloat16, a convolution takes tens of times float32's time on a CPU without AVX-512.
#
# Guess: torch.autocast("cpu", torch.bfloat16) on a processor that has no arithmetic of bfloat16 computes
#   in float32 and rounds: about float32's time, or else a warning that it is not supported.
# Behaviour: oneDNN takes bfloat16 only where the processor has AVX-512 (AVX512BW). Elsewhere PyTorch
#   takes its own convolution, of im2col and a matrix product in bfloat16 that no library speeds up: it
#   takes 10 to 100 times float32's time in 2D and 3D, and more the wider the layer is. Nothing warns.
# Versions: torch 2.13.0 (CPU), its oneDNN; Linux x86-64, AMD EPYC with AVX2.
# Why it matters: many hospital computers and older servers have AVX2 only. A training or inference that
#   sets bfloat16 because it halved the time on a new server seems to hang on them. Ask
#   torch.cpu.get_capabilities() for avx512_bf16 or amx_bf16 first.
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
CASES = {
    "2D": (torch.nn.Conv2d(16, 16, 3, padding=1), torch.randn(8, 16, 96, 96)),
    "3D": (torch.nn.Conv3d(16, 16, 3, padding=1), torch.randn(1, 16, 32, 48, 48)),
}


def seconds(layer, images, bfloat16):
    """Least processor seconds of three passes, and whether oneDNN computed them."""
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        with torch.profiler.profile() as seen:
            layer(images)
        for _ in range(3):
            start = time.process_time()
            layer(images)
            found.append(time.process_time() - start)
    return min(found), any(event.key == "aten::mkldnn_convolution" for event in seen.key_averages())


able = torch.cpu.get_capabilities()
print("torch", torch.__version__, "AVX-512:", able["avx512_bw"], "bfloat16:", able["avx512_bf16"])
for name, case in CASES.items():
    (plain, fast), (half, fast_too) = (seconds(*case, bfloat16) for bfloat16 in (False, True))
    print(f"{name}: float32 {plain:.3f} s, bfloat16 {half:.3f} s, {half / plain:.1f} times")
    print("FOUND", name, fast, fast_too, half > 5 * plain)
PYTHON
found=$(python3 times.py 2> /dev/null)
grep -v FOUND <<< "$found"
expected="True False True"   # oneDNN in float32, in bfloat16, slow
if grep -q avx512bw /proc/cpuinfo; then
  echo "this processor has AVX-512: only the fast half can be seen here"; expected="True True False"
fi
[ "$(grep -c "FOUND .D $expected" <<< "$found")" = 2 ] || { echo "$found"; echo "the behaviour has changed"; exit 1; }
