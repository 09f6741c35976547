"""Teachers: modules, callables such as scikit-learn's, stored targets, and combinations of them.

`Ensemble` averages teachers of the same classes, `Specialists` has one teacher for each domain, and
a `Specialist` knows some of the classes.
"""

from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher, ask, ask_first
from tutelage.teachers.averages import (
    by_entropy,
    by_label_confidence,
    mean_of_binary_probabilities,
    mean_of_gaussians,
    mean_of_outputs,
    mean_of_probabilities,
)
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.live import Live
from tutelage.teachers.predictor import Predictor
from tutelage.teachers.retokenized import Retokenized
from tutelage.teachers.served import Recorded, Served
from tutelage.teachers.specialists import Specialist, Specialists
from tutelage.teachers.stored import Stored

__all__ = [
    "AnyTeacher",
    "Ensemble",
    "Live",
    "Predictor",
    "Recorded",
    "Retokenized",
    "Served",
    "Specialist",
    "Specialists",
    "Stored",
    "Teacher",
    "as_teacher",
    "ask",
    "ask_first",
    "by_entropy",
    "by_label_confidence",
    "mean_of_binary_probabilities",
    "mean_of_gaussians",
    "mean_of_outputs",
    "mean_of_probabilities",
]
