#!/usr/bin/env bash
# batchgenerators 0.25.5 resizes label maps by another rule than 0.25.1, a patch release apart.
#
# Guess: resize_segmentation, with which nnU-Net v1 and v2 resample ground truth and predictions,
#   interpolates the indicator of each label and writes the label where it reaches one half; where
#   three labels meet and none reaches it, the voxel becomes 0.
# Behaviour: that is 0.25.1. In 0.25.5 the label with the largest indicator wins, so that no voxel
#   falls to 0 for want of a majority; ties are settled by the nearest voxel's label (seg_tiebreak).
#   With two labels alone both releases agree, except where both are at exactly one half.
# Versions: batchgenerators 0.25.1 and 0.25.5, scikit-image 0.25.2, numpy 2.2.6; Linux x86-64.
# Why it matters: nnU-Net v2 asks for 0.25.1 or later. Its preprocessed labels, and the masks that it
#   returns to the scan's grid, depend on when it was installed wherever more than two labels touch:
#   lesions in classes by size or depth, tissue maps, white-matter hyperintensity beside a lesion.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMP_NUM_THREADS=1
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" \
  numpy==2.2.6 scikit-image==0.25.2 scipy==1.15.3 pandas==2.2.3 2> "$folder/pip.log" \
  || { cat "$folder/pip.log"; exit 1; }
cat > "$folder/resize.py" <<'PYTHON'
import sys

import numpy as np
from batchgenerators.augmentations.utils import resize_segmentation

three = np.full((6, 6, 6), 3.0)  # three labels meet along an edge; 0 is nowhere
three[3:, :3], three[3:, 3:] = 1, 2
given = {"three": three, "two": (three == 1) + 4.0}
np.savez(sys.argv[1], **{k: resize_segmentation(v, (16, 16, 16), order=1) for k, v in given.items()})
PYTHON
for release in 0.25.1 0.25.5; do
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --target "$folder/$release" "batchgenerators==$release" 2> "$folder/pip.log" \
    || { cat "$folder/pip.log"; exit 1; }
  PYTHONPATH="$folder/$release:$folder/site" python3 "$folder/resize.py" "$folder/$release.npz"
done
PYTHONPATH="$folder/site" python3 - "$folder" <<'PYTHON'
import sys

import numpy as np

old, new = (dict(np.load(f"{sys.argv[1]}/{release}.npz")) for release in ("0.25.1", "0.25.5"))
for name in ("two", "three"):
    differ = old[name] != new[name]
    print(f"{name} labels: {differ.sum()} of {differ.size} voxels differ; labels of 0.25.1",
          np.unique(old[name]), "and of 0.25.5", np.unique(new[name]))
differ = old["three"] != new["three"]
assert np.array_equal(old["two"], new["two"])
assert differ.any() and not old["three"][differ].any() and new["three"].all()
print("as described")
PYTHON
