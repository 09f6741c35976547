"""Knowledge distillation: train a small, fast model from a large trained one, or from several.

>>> import tutelage as tl
>>> 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(temperature=4)
0.1 * HardLabels() + 0.9 * SoftTargets(temperature=4)

Names are imported when they are first used, so that importing the package takes little time.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage import (
        data,
        datasets,
        evaluation,
        layers,
        objectives,
        references,
        schedules,
        students,
        studies,
        teachers,
    )
    from tutelage.coarse import CoarseLogits
    from tutelage.compression import Compressed, compress
    from tutelage.data import OnPolicy
    from tutelage.distiller import Distiller, Losses
    from tutelage.errors import (
        ArgumentError,
        DataError,
        ModelError,
        NonFiniteError,
        NotFoundError,
        RecipeError,
        RunFolderError,
        StoreError,
        TutelageError,
    )
    from tutelage.exporting import Exported, export
    from tutelage.heads import HeadLogits
    from tutelage.objectives import *  # noqa: F403 - the list is kept there
    from tutelage.recipes import Recipe
    from tutelage.signals import Batch, Mixture, Signals
    from tutelage.store import TargetStore
    from tutelage.studies import Arm, ReportOptions, Study, Sweep, Training, Trial, study
    from tutelage.training import (
        Engine,
        Monitor,
        Run,
        Stage,
        blockwise,
        distill,
        fine_tune,
        fit,
        label,
    )
    from tutelage.wants import Fields, Wants

__version__ = "0.1.0"

_HOMES = (
    "errors",
    "coarse",
    "heads",
    "signals",
    "data",
    "wants",
    "objectives",
    "distiller",
    "exporting",
    "training",
    "studies",
    "store",
    "compression",
    "recipes",
)
__all__ = [
    "ArgumentError",
    "Arm",
    "Batch",
    "CoarseLogits",
    "Compressed",
    "DataError",
    "Distiller",
    "Engine",
    "Exported",
    "Fields",
    "HeadLogits",
    "Losses",
    "Mixture",
    "ModelError",
    "Monitor",
    "NonFiniteError",
    "NotFoundError",
    "OnPolicy",
    "Recipe",
    "RecipeError",
    "ReportOptions",
    "Run",
    "RunFolderError",
    "Signals",
    "Stage",
    "StoreError",
    "Study",
    "Sweep",
    "TargetStore",
    "Training",
    "Trial",
    "TutelageError",
    "Wants",
    "__version__",
    "blockwise",
    "compress",
    "data",
    "datasets",
    "distill",
    "evaluation",
    "export",
    "fine_tune",
    "fit",
    "label",
    "layers",
    "objectives",
    "references",
    "schedules",
    "students",
    "studies",
    "study",
    "teachers",
]


def __getattr__(name: str) -> Any:
    if name in __all__ and find_spec(f"tutelage.{name}") is not None:
        return import_module(f"tutelage.{name}")
    if name in __all__ or (not name.startswith("_") and name in _objectives()):
        for home in _HOMES:
            module = import_module(f"tutelage.{home}")
            if name in vars(module):
                globals()[name] = value = vars(module)[name]
                return value
    raise AttributeError(f"module 'tutelage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_objectives()})


def _objectives() -> list[str]:
    """Return the names of the objectives, from the list of their package."""
    return import_module("tutelage.objectives").__all__
