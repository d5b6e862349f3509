#!/usr/bin/env bash
# MONAI's trainers and evaluators with amp=True compute in float32 on a CPU.
#
# Guess: SupervisedTrainer(device="cpu", amp=True) either autocasts to bfloat16, as torch.autocast
#   does on a CPU, or refuses or warns because mixed precision was asked for and is not used.
# Behaviour: the engines open torch.autocast for the device type "cuda", whatever their own device
#   is. On a CPU every layer computes in float32; amp_kwargs={"dtype": torch.bfloat16} changes
#   nothing. The trainer's only sign is PyTorch's warning that the gradient scaler is disabled; the
#   evaluator gives none. The same network under torch.autocast("cpu") computes in bfloat16.
# Versions: monai 1.6.1, torch 2.13.0 (CPU), pytorch-ignite 0.5.5; Linux x86-64.
# Why it matters: on processors with AVX512_BF16 or AMX a 3D U-Net trains twice as fast in bfloat16.
#   A bundle that sets amp to true gets the time of float32, and its configuration says otherwise.
#   An inferer that opens torch.autocast(inputs.device.type) around the network solves it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PYTHONPATH="$folder/site" OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  monai==1.6.1 torch==2.13.0 pytorch-ignite==0.5.5 numpy==2.4.6 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cd "$folder"
python3 - <<'PYTHON'
import warnings

import monai
import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import SimpleInferer

seen = []


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, image):
        output = self.layer(image)
        seen.append(output.dtype)
        return output


class Autocast(SimpleInferer):
    def __call__(self, inputs, network, *args, **kwargs):
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return network(inputs, *args, **kwargs).float()


def run(inferer, **amp):
    seen.clear()
    network = Network()
    data = [{"image": torch.rand(1, 1, 8, 8, 8), "label": torch.rand(1, 1, 8, 8, 8)}]
    common = {"device": torch.device("cpu"), "network": network, "inferer": inferer, **amp}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        SupervisedTrainer(
            max_epochs=1,
            train_data_loader=data,
            optimizer=torch.optim.SGD(network.parameters(), 0.1),
            loss_function=torch.nn.MSELoss(),
            **common,
        ).run()
        SupervisedEvaluator(val_data_loader=data, **common).run()
    texts = {str(one.message).partition(".  ")[0] for one in said}
    return list(seen), sorted(text for text in texts if "is enabled" in text)


print("monai", monai.__version__, "torch", torch.__version__)
results = {
    "amp=True": run(SimpleInferer(), amp=True),
    "amp=True, dtype bfloat16": run(SimpleInferer(), amp=True, amp_kwargs={"dtype": torch.bfloat16}),
    "an inferer with autocast": run(Autocast(), amp=False),
}
for name, (types, said) in results.items():
    print(f"{name}: training {types[0]}, evaluation {types[1]}; warnings: {said or 'none'}")
float32, bfloat16 = [torch.float32] * 2, [torch.bfloat16] * 2
assert results["amp=True"][0] == float32
assert results["amp=True, dtype bfloat16"][0] == float32
assert results["an inferer with autocast"][0] == bfloat16
PYTHON
echo "as found"
