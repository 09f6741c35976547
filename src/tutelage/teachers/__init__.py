"""Where a teacher's signals come from: modules, callables such as scikit-learn's, and many of them.

Several teachers that know the same are an `Ensemble`; those that know a domain each are
`Specialists`; one that knows some of the classes is a `Specialist`; and where domains are not
known, `Consensus` joins what all of them say.
"""

from tutelage.teachers._teacher import Teacher
from tutelage.teachers.as_teacher import AnyTeacher, as_teacher
from tutelage.teachers.averages import mean_of_gaussians, mean_of_outputs, mean_of_probabilities
from tutelage.teachers.consensus import Consensus
from tutelage.teachers.ensemble import Ensemble
from tutelage.teachers.live import Live
from tutelage.teachers.predictor import Predictor
from tutelage.teachers.specialist import Specialist
from tutelage.teachers.specialists import Specialists
from tutelage.teachers.stored import Stored
from tutelage.teachers.weightings import by_entropy, by_label_confidence, inverse_variance

__all__ = [
    "AnyTeacher",
    "Consensus",
    "Ensemble",
    "Live",
    "Predictor",
    "Specialist",
    "Specialists",
    "Stored",
    "Teacher",
    "as_teacher",
    "by_entropy",
    "by_label_confidence",
    "inverse_variance",
    "mean_of_gaussians",
    "mean_of_outputs",
    "mean_of_probabilities",
]
