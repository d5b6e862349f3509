#!/usr/bin/env bash
# MONAI's LoadImage warns about a DICOM decoder whenever pydicom is installed, even to read NIfTI.
#
# Guess: an optional reader that is not used, for lack of an optional package, says nothing; at most
#   it speaks when a DICOM file is read.
# Behaviour: LoadImage() makes every reader that it knows. One of them, NvImgCodecPydicomReader, gives a
#   UserWarning that NVIDIA's decoder did not register, at each LoadImage() and for NIfTI files alike,
#   as soon as pydicom can be imported. Without pydicom there is no such warning.
# Versions: monai 1.6.1, pydicom 3.0.2, torch 2.13.0, numpy 2.4.6, nibabel 5.4.2; Linux x86-64.
# Why it matters: a package that makes warnings errors, as many do in their tests, breaks when anything
#   else in the environment (highdicom, dicom2nifti) brings pydicom, although it reads no DICOM. Make
#   the one reader that is needed, such as monai.data.NibabelReader, yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
install() { "$folder/env/bin/pip" install --quiet --disable-pip-version-check "$@" 2> "$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }; }
install torch==2.13.0 monai==1.6.1 numpy==2.4.6 nibabel==5.4.2
cat > "$folder/read.py" <<'PYTHON'
import sys
import warnings

import nibabel as nib
import numpy as np
from monai import __version__
from monai.transforms import LoadImage

file = f"{sys.argv[1]}/scan.nii.gz"
nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), file)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found = LoadImage()(file)
assert found.shape == (4, 4, 4)
about = [str(one.message) for one in said if "NvImgCodecPydicomReader" in str(one.message)]
print(f"monai {__version__}: {len(about)} warnings about DICOM while a NIfTI file is read", *about[:1], sep="\n  ")
sys.exit(len(about))
PYTHON
"$folder/env/bin/python" "$folder/read.py" "$folder" || { echo "changed: it warns without pydicom, too"; exit 1; }
install pydicom==3.0.2
if "$folder/env/bin/python" "$folder/read.py" "$folder"; then echo "changed: it no longer warns"; exit 1; fi
echo "confirmed: pydicom beside MONAI makes LoadImage() warn"
