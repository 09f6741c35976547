"""Everything that recipes are for can be written in them, since it is read off the classes."""

import inspect

import pytest
import torch

import tutelage as tl
from tutelage.recipes import model as choices
from tutelage.recipes import schema
from tutelage.recipes.model import RecipeModel, TrainingSection
from tutelage.recipes.signatures import descriptions, parameters, target_of
from tutelage.training.setup import make_scheduler


def public_classes(package, base):
    names = getattr(package, "__all__", dir(package))
    found = {name: getattr(package, name) for name in names}
    return {
        name for name, each in found.items() if inspect.isclass(each) and issubclass(each, base)
    }


def test_all_objectives_but_bases_can_be_named():
    bases = {"Objective", "OutputObjective", "LayerObjective", "WeightedSum"}
    expected = public_classes(tl.objectives, tl.Objective) - bases
    assert set(choices.ObjectiveChoice.model_fields) == expected


def test_all_schedules_transforms_teachers_and_students_can_be_named():
    schedules = public_classes(tl.schedules, tl.schedules.Schedule) - {"Schedule", "_Ramp"}
    assert set(choices.ScheduleChoice.model_fields) == schedules
    assert {"Mixup", "CutMix", "Swap", "Noise", "Chain"} == set(
        choices.TransformChoice.model_fields
    )
    teachers = public_classes(tl.teachers, tl.teachers.Teacher) - {"Teacher"}
    assert set(choices.TeacherChoice.model_fields) == teachers
    expected = {"every_nth_layer", "keep_layers", "least_loss", "mlp", "most_influential"}
    assert set(choices.StudentChoice.model_fields) == expected


def test_optimizers_and_schedulers_are_those_of_pytorch():
    assert {"SGD", "Adam", "AdamW", "RMSprop"} <= set(choices.OptimizerChoice.model_fields)
    assert "LBFGS" not in choices.OptimizerChoice.model_fields  # calls the model itself
    named = set(choices.SchedulerChoice.model_fields)
    assert {"CosineAnnealingLR", "OneCycleLR", "StepLR", "Cosine"} <= named
    assert not {"ReduceLROnPlateau", "SequentialLR", "LRScheduler"} & named


def test_arguments_are_those_of_the_signatures():
    assert target_of(TrainingSection) is tl.distill
    apart = {"teacher", "student", "train", "val", "objective", "stages", "out", "fresh"}
    assert set(TrainingSection.model_fields) == set(parameters(tl.distill)) - apart
    for name, field in choices.ObjectiveChoice.model_fields.items():
        arguments = set(parameters(getattr(tl.objectives, name)))
        assert set(field.annotation.model_fields) == arguments | {"weight"}


def test_the_schema_describes_every_class_and_argument():
    definitions = schema()["$defs"]
    objective = definitions["SoftTargets"]
    assert objective["description"].startswith("T² · KL")
    properties = objective["anyOf"][0]["properties"]
    assert properties["temperature"]["description"] == descriptions(tl.SoftTargets)["temperature"]
    assert set(schema()["properties"]) == set(RecipeModel.model_fields)


@pytest.mark.parametrize(
    "name",
    ["StepLR", "LinearLR", "CosineAnnealingLR", "OneCycleLR", "PolynomialLR", "Cosine", "Linear"],
)
def test_schedulers_go_over_all_steps_of_the_run(name):
    arguments = {
        "StepLR": {"step_size": 3},
        "OneCycleLR": {"max_lr": 0.1},
        "Cosine": {"start": 1, "end": 0},
        "Linear": {"start": 1, "end": 0},
    }
    recipe = tl.Recipe({"data": "x.csv", "training": {"scheduler": {name: arguments.get(name)}}})
    make = recipe._job().settings["scheduler"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    [scheduler, _], rates = make_scheduler(make, optimizer, 10), []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert len(set(rates)) > 3  # it moves until the end
    assert rates[-1] != rates[-4]
