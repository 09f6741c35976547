"""Studies: arms against controls over paired seeds, and what they prove."""

from tutelage.studies.arm import Arm, Trial
from tutelage.studies.compare_specialists import compare_specialists
from tutelage.studies.conclude import ReportOptions
from tutelage.studies.plan import Training
from tutelage.studies.specialist_comparison import SpecialistComparison
from tutelage.studies.study import Study, study
from tutelage.studies.sweep import Sweep

__all__ = [
    "Arm",
    "ReportOptions",
    "SpecialistComparison",
    "Study",
    "Sweep",
    "Training",
    "Trial",
    "compare_specialists",
    "study",
]
