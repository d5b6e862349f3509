"""T1w stroke patients made while a network trains: none is ever written or seen twice.

A patient is the healthy anatomy of a label map, made older, given lesions and scanned: brain only,
in the 2 mm box of `stroke_nets.transforms.brain_box`. Patient ``index`` of ``seed`` is always the
same. The order of the steps: `patient`.
"""

from stroke_nets.synthesis.t1w.patient import Habit, make_patient
from stroke_nets.synthesis.t1w.patients import Patients
from stroke_nets.synthesis.t1w.sources import Sources, prepare, read_sources

__all__ = ["Habit", "Patients", "Sources", "make_patient", "prepare", "read_sources"]
