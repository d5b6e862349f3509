"""Acute stroke patients in diffusion MRI, made during training: DWI (b = 1000 s/mm2) and ADC.

Anatomy, ageing and lesion shapes are those of `stroke_nets.synthesis.t1w`. What is painted is the
signal at b = 0 and at b = 1000, S = S0 exp(-b ADC); scanner effects act on both, and the ADC is
computed from them at the end, as a scanner does. Patient ``index`` of ``seed`` is always the same.
"""

from stroke_nets.synthesis.diffusion.patient import Habit, make_patient
from stroke_nets.synthesis.diffusion.patients import Patients

__all__ = ["Habit", "Patients", "make_patient"]
