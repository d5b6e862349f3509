"""Starting to predict imports no more of MONAI's optional packages than it uses."""

import subprocess
import sys

STARTED = """
import gc
import sys
from stroke_nets.monai_import import UNUSED, import_monai
import_monai()
assert gc.isenabled()
assert not set(UNUSED) & set(sys.modules), set(UNUSED) & set(sys.modules)
import stroke_nets.inference.pipeline
found = ({*UNUSED, "matplotlib.pyplot"} - {"matplotlib"}) & set(sys.modules)
assert not found, found
import ignite.engine, matplotlib.pyplot, pandas, scipy.signal, sklearn.metrics, tensorboard
from monai.transforms import Orientation
"""


def test_what_prediction_does_not_use_is_imported_only_by_who_asks_for_it():
    done = subprocess.run([sys.executable, "-c", STARTED], check=False)
    assert done.returncode == 0


def test_what_was_there_before_stays():
    code = "import pandas; from stroke_nets.monai_import import import_monai; import_monai()"
    after = "; import sys; assert sys.modules['pandas'] is pandas"
    assert subprocess.run([sys.executable, "-c", code + after], check=False).returncode == 0
