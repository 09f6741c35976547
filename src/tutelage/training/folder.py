"""The folder of a run: its files, and what a run declares, by which the same call finds it again.

```
out/
├── run.json                  what makes this run this run (a different one is refused), versions
├── metrics.jsonl             the log
├── last.pt                   the last checkpoint: everything needed to resume
├── best-EPOCH.safetensors    the student of the best epoch, if there is validation
└── student.safetensors       the student, once the run is finished
```
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from tutelage.data import OnPolicySource
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.files import owned, remove_drafts, write_json, writing
from tutelage.identity import declared, declared_data, differences, digest, model_identity
from tutelage.results.record import versions
from tutelage.schedules import Constant, Schedule
from tutelage.training.setup import Setup

OF_RECIPES = {
    "recipe.yaml",
    "kept_layers.json",
    "teacher",
    "targets",
    "student",
    "study",
    "compress",
}
"""What recipes write into the folder of their run before it begins."""
_MOST_SHOWN = 10


class RunFolder:
    """A folder that belongs to one run.

    Args:
        path: Where.
        settings: The run's settings, for readers.
        declared: What must be equal for a run to be the same run; see `tutelage.identity`.
        fresh: Whether a run that the folder holds is removed.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        declared: Mapping[str, Any],
        fresh: bool = False,
    ) -> None:
        self.path, self.fresh = path, fresh
        self.run, self.log = path / "run.json", path / "metrics.jsonl"
        self.last, self.student = path / "last.pt", path / "student.safetensors"
        self._settings, self.declared = (
            json.loads(json.dumps(plain(each), default=str)) for each in (settings, declared)
        )

    @contextmanager
    def claimed(self, why_not_longer: Callable[[], str]) -> Iterator[None]:
        """Make the folder ours, or find that it is already; no other process writes it meanwhile.

        `why_not_longer` returns why the run may not continue to more epochs than it began with; an
        empty text if it may.
        """
        refuse_foreign(self.path)
        with owned(self.path, RunFolderError):
            with writing(self.path, RunFolderError):
                remove_drafts(self.path)
                if not self.run.exists() or self.fresh:
                    self._begin()
                else:
                    self._check_same(why_not_longer)
            yield

    def best(self, epoch: int) -> Path:
        """Return the file of the best student, of this epoch."""
        return self.path / f"best-{epoch}.safetensors"

    def keep_only(self, best: Path | None) -> None:
        """Remove the students of epochs that are no longer the best."""
        for file in self.path.glob("best-*.safetensors"):
            if file != best:
                file.unlink()

    def _begin(self) -> None:
        """Write what identifies the run, once nothing is left of another one."""
        for file in (self.student, self.last, self.log):
            file.unlink(missing_ok=True)
        self.keep_only(None)
        for stage in self.path.glob("*-*/run.json"):
            if self.fresh:
                shutil.rmtree(stage.parent)
        self._write(self._settings, self.declared)

    def _write(self, settings: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
        content = {"run": settings, "declared": declared, "made_with": versions()}
        write_json(self.run, content)

    def _check_same(self, why_not_longer: Callable[[], str]) -> None:
        """Refuse another run; one that is equal but for fewer epochs becomes longer."""
        try:
            content = json.loads(self.run.read_text(encoding="utf-8"))
            settings, found = dict(content["run"]), dict(content["declared"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunFolderError(
                f"{self.run} must identify the run, got a damaged file ({error}); give another "
                "folder, or fresh=True to train anew"
            ) from error
        now = self.declared
        different = {path: (old, new) for path, old, new in differences(found, now)}
        if not different:
            return
        if not self._is_trained():
            self._begin()
            return
        advice = "give another folder, or fresh=True to train anew"
        names = {path.split(".")[0] for path in different}
        of_length = names in ({"epochs"}, {"epochs", "scheduler"})  # this has the number of steps
        if of_length and found["epochs"] < now["epochs"]:
            obstacle = content.get("not_longer") or why_not_longer()
            if not obstacle and names == {"epochs"}:
                self.student.unlink(missing_ok=True)  # of the shorter run
                longer = {"epochs": now["epochs"]}
                self._write(settings | longer, found | longer)
                return
            if obstacle:
                advice = f"no more epochs can be added, since {obstacle}; {advice}"
        lines = [f"  {path}: {old!r} → {new!r}" for path, (old, new) in sorted(different.items())]
        if len(lines) > _MOST_SHOWN:
            lines[_MOST_SHOWN:] = [f"  and {len(lines) - _MOST_SHOWN} more"]
        raise RunFolderError(
            f"`out` must be new or hold this very run, got {self.path} with a run that differs "
            "in\n" + "\n".join([*lines, advice])
        )

    def _is_trained(self) -> bool:
        """Tell whether a step was logged; a run that failed at once does not keep its folder."""
        logs = [self.log, *self.path.glob("*-*/metrics.jsonl")]
        return any(each.exists() and each.stat().st_size > 0 for each in logs)


def refuse_foreign(path: Path) -> None:
    """Refuse a folder that holds something else than a run."""
    if not path.is_dir() or (path / "run.json").exists():
        return
    found = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))
    foreign = [name for name in found if name not in OF_RECIPES]
    if foreign:
        raise RunFolderError(
            f"`out` must be a new or empty folder, or hold a run, got {path} with {foreign[0]!r} "
            f"and without run.json; give a folder of its own, such as {str(path / 'run')!r}"
        )


def refuse_longer(out: Path, obstacle: str) -> None:
    """Note in a run's folder why it cannot be continued to more epochs."""
    path = out / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, content | {"not_longer": obstacle})


def plain(value: Any) -> Any:
    """Return settings or a state with numpy's numbers as Python's, also in dicts and lists.

    `torch.load(weights_only=True)` refuses numpy's, and JSON has none.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is dict:
        return {plain(key): plain(each) for key, each in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def describe_run(setup: Setup, processes: int) -> dict[str, Any]:
    """Describe a run by its settings, for readers, without reading weights or data."""
    distiller, settings, engine = setup.distiller, setup.settings, setup.settings.engine
    student = distiller.student
    described = {
        "teacher": None if distiller.teacher is None else type(distiller.teacher).__name__,
        "student": type(student).__name__,
        "objective": repr(distiller.objective),
        "train": setup.train.description,
        "val": None if setup.val is None else setup.val.description,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "optimizer": ", ".join(_as_call(setup.optimizer, each) for each in _groups(setup)),
        "scheduler": None
        if setup.scheduler is None
        else _as_call(setup.scheduler, _plain(setup.scheduler)),
        "accumulation": engine.accumulation,
        "clip_norm": engine.clip_norm,
        "precision": engine.precision,
        "monitor": repr(settings.monitor),
        "processes": processes,
    }
    if settings.steps is not None:
        described["steps"] = settings.steps
    frozen = [name for name, each in student.named_parameters() if not each.requires_grad]
    if frozen:
        described["frozen"] = f"{len(frozen)} parameters {digest(*frozen)}"
    if settings.transform is not None:
        described["transform"] = repr(settings.transform)
    return {
        name: _ADDRESS.sub("", each) if isinstance(each, str) else each
        for name, each in described.items()
    }


def declare_run(setup: Setup, objective: Any, described: dict[str, Any]) -> dict[str, Any]:
    """Return all that must be equal for a call to resume a folder's run, as plain data.

    The student's first weights are not part of it, so that a script that does not seed them can
    be resumed. `objective` is what the objective declared before the run.
    """
    (train, val), teacher, settings = setup.data, setup.distiller.teacher, setup.settings
    own = (
        "epochs",
        "steps",
        "seed",
        "accumulation",
        "clip_norm",
        "precision",
        "processes",
        "frozen",
    )
    sizes = {name: described[name] for name in ("train", "val") if described[name]}
    found = {name: described[name] for name in own if name in described} | {
        "teacher": None if teacher is None else teacher.fingerprint(),
        "student": model_identity(setup.distiller.student, weights=False),
        "objective": objective,
        "train": {**sizes["train"], "content": declared_data(train)},
        "val": None if val is None else {**sizes["val"], "content": declared_data(val)},
        "optimizer": {"of": type(setup.optimizer).__name__, "groups": declared(_groups(setup))},
        "scheduler": None if setup.scheduler is None else _declared_scheduler(setup),
        "monitor": declared(settings.monitor),
    }
    used = _in_use(setup)
    before, after = _LEFT.get(settings.out, ({}, {}))
    return found | {
        name: before[name] if name in before and each == after[name] else each
        for name, each in used.items()
    }


def _declared_scheduler(setup: Setup) -> Any:
    """Return what makes the scheduler, and its state before the first step."""
    scheduler: Any = setup.scheduler
    found = {"of": type(scheduler).__name__, "made_by": setup.settings.scheduler}
    found |= scheduler.state_dict()
    if "lr_lambdas" in found:  # a state holds their attributes alone, of a partial none
        found["lr_lambdas"] = scheduler.lr_lambdas
    return declared(found)


def note_use(setup: Setup, run: dict[str, Any]) -> None:
    """Remember how a run leaves what may change by being used, as a transform that counts.

    The same call in this process then finds its run again, as one in another process does.
    """
    now = _in_use(setup)
    _LEFT[setup.settings.out] = {name: run[name] for name in now}, now


_LEFT: dict[Path | None, tuple[dict[str, Any], dict[str, Any]]] = {}


def _in_use(setup: Setup) -> dict[str, Any]:
    for each in setup.settings.metrics.values():
        reset = getattr(each, "reset", None)
        if callable(reset):
            reset()  # what it has counted is not what it is
    metrics = {name: declared(each) for name, each in setup.settings.metrics.items()}
    return {"transform": declared(setup.settings.transform), "metrics": metrics}


def why_not_longer(setup: Setup | None) -> str:
    """Return what in a run depends on its number of epochs; an empty text for nothing.

    Without a setup it is for stages. Functions of the user's that read `batch.progress` are not
    looked into.
    """
    if setup is None:
        return "a stage begins where the one before it ends"
    if setup.scheduled:
        return f"the scheduler ({type(setup.scheduler).__name__}) goes over all steps"
    own = [setup.distiller.objective, setup.settings.transform]
    own += [setup.train.policy.share] if isinstance(setup.train, OnPolicySource) else []
    found = next((each for one in own for each in _schedules(one)), None)
    return "" if found is None else f"the schedule {found} goes over all epochs"


def _schedules(value: object, depth: int = 8) -> Iterator[Schedule]:
    """Yield the schedules in an objective or a transform that are not constant."""
    if isinstance(value, Schedule):
        if not isinstance(value, Constant):
            yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _schedules(each, depth - 1)
    elif depth and hasattr(value, "__dict__") and not isinstance(value, (type, Tensor)):
        parts = list(value.children()) if isinstance(value, nn.Module) else []
        yield from _schedules([*vars(value).values(), *parts], depth - 1)


def check_progress(setup: Setup) -> None:
    """Refuse what changes over training where nobody can tell how far that is.

    With several epochs it changes from one to the next.
    """
    if setup.settings.epochs != 1 or setup.train.batches_per_epoch() is not None:
        return
    if moving := why_not_longer(setup):
        raise ArgumentError(
            f"`train` must have a length in a single epoch where {moving}, got data without one, "
            "so that it would stay at its first value; give the data __len__, several epochs, or "
            "a constant"
        )


def _as_call(owner: object, settings: dict[str, Any]) -> str:
    """Return an object with its settings as its call, without those that are not set."""
    known = (f"{k}={v}" for k, v in settings.items() if v is not None and v is not False)
    return f"{type(owner).__name__}({', '.join(known)})"


def _groups(setup: Setup) -> list[dict[str, Any]]:
    """Return the settings of the optimizer's groups, and the sizes of their parameters.

    With which kernels a step is computed is none of them.
    """
    return [
        {key: value for key, value in group.items() if key != "params"}
        | {key: None for key in ("foreach", "fused") if key in group}
        | {"parameters": sum(each.numel() for each in group["params"])}
        for group in setup.optimizer.param_groups
    ]


def _plain(value: object) -> dict[str, Any]:
    return {
        key: each
        for key, each in sorted(vars(value).items())
        if isinstance(each, (int, float, str, bool)) and not key.startswith("_")
    }
