"""T1w stroke patients made during training: none is written to disk or seen twice.

A patient is the healthy anatomy of a label map with ageing, lesions and scanner artefacts: brain
only, in the 2 mm box of `stroke_nets.transforms.brain_box`. Patient ``index`` of ``seed`` is always
the same. `patient` shows the order of the steps.
"""

from stroke_nets.synthesis.t1w.patient import Habit, make_patient
from stroke_nets.synthesis.t1w.patients import Patients
from stroke_nets.synthesis.t1w.sources import Sources, prepare, read_sources

__all__ = ["Habit", "Patients", "Sources", "make_patient", "prepare", "read_sources"]
