"""A recipe is the Python call that it stands for."""

from functools import partial

import pytest
import torch

import tutelage as tl
from recipe_sources import RECIPE
from tutelage.data import randomness
from tutelage.references import load


def weights(run):
    return torch.cat([each.flatten() for each in run.student.parameters()])


def recipe(job, text=RECIPE, **replaced):
    for old, new in replaced.items():
        text = text.replace(old, new)
    (job / "job.yaml").write_text(text)
    return tl.Recipe.from_file(job / "job.yaml")


def made(reference):
    with randomness.preserved():
        randomness.seed_everything(0)
        return load("it", reference)


@pytest.mark.usefixtures("job")
def test_a_run_is_that_of_the_call():
    found = tl.Recipe.from_file("job.yaml").run()
    data = made("job.py:data")
    expected = tl.distill(
        made("job.py:net"),
        made("job.py:small"),
        train=data["train"],
        val=data["val"],
        objective=0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(temperature=4),
        epochs=2,
        batch_size=16,
        optimizer=partial(torch.optim.AdamW, lr=5e-3),
        out="runs/job",
    )
    assert expected.history == found.history  # the call finds the recipe's run in its folder
    again = tl.Recipe.from_file("job.yaml", ["out=runs/other"]).run()
    assert torch.equal(weights(found), weights(again))
    assert torch.equal(weights(found), weights(expected))


def test_the_resolved_recipe_gives_the_same_weights(job):
    text = RECIPE.replace(
        "  optimizer",
        "  scheduler: CosineAnnealingLR\n  transform: [{Noise: 0.1}, Mixup]\n  optimizer",
    )
    found = recipe(job, text).run()
    kept = job / "runs" / "job" / "recipe.yaml"
    assert weights(tl.Recipe.from_file(kept).run()).equal(weights(found))  # the same run
    again = tl.Recipe.from_file(kept, ["out=runs/again"]).run()
    assert torch.equal(weights(again), weights(found))


@pytest.mark.usefixtures("job")
def test_the_resolved_recipe_has_overrides_and_defaults():
    found = tl.Recipe.from_file("job.yaml", ["training.epochs=1", "training.engine.clip_norm=2.5"])
    values = tl.Recipe.from_file("job.yaml").model
    text = found.resolved()
    for line in ("epochs: 1", "clip_norm: 2.5", "seed: 0", "smoothing: 0.0", "lr: 0.005"):
        assert line in text
    assert "weight_decay" not in text  # PyTorch's own defaults are left to it
    assert values.training.epochs == 2


def test_a_module_of_the_user_is_not_trained_in_place(job):
    first = recipe(job, **{"job.py:small": "job.py:kept"}).run()
    second = tl.Recipe.from_file("job.yaml", ["out=runs/second"]).run()
    assert torch.equal(weights(first), weights(second))


def test_a_teacher_is_fine_tuned_first(job):
    tuned = recipe(job, RECIPE + "fine_tune: {epochs: 3, optimizer: {AdamW: {lr: 0.01}}}\n").run()
    assert (job / "runs" / "job" / "teacher" / "student.safetensors").exists()
    assert tuned.teacher is not None
    plain = tl.Recipe.from_file("job.yaml", ["fine_tune=", "out=runs/plain"]).run()
    assert not torch.equal(weights(tuned), weights(plain))


def test_own_objectives_transforms_and_metrics_are_named_by_reference(job):
    run = recipe(
        job,
        """
teacher: [job.py:net, job.py:net]
student: job.py:small
data: {train: job.py:train, val: job.py:val, unlabelled: job.py:test}
objective:
  - job.py:Squares: {scale: 0.5, weight: 2}
  - job.py:Squares:
training:
  epochs: 1
  transform: job.py:doubled
  metrics: {hits: job.py:hits}
  monitor: {name: hits, higher_is_better: true}
  seed: 3
""",
    ).run()
    assert "val/hits" in run.history[0]
    assert run.out.name == "job"
    assert "2 * Squares" in repr(run.objective)
    assert run.settings["seed"] == 3


def test_a_student_is_made_from_the_teachers_layers(job):
    run = recipe(
        job,
        """
teacher: job.py:blocks
student: {every_nth_layer: 2}
data: job.py:data
stages: {blockwise: {layer_map: {0: 1, 1: 3}, epochs: 1}}
training: {batch_size: 16}
""",
    ).run()
    assert len(run.student) == 2
    assert len(run.history) == 2
    (job / "own.py").write_text(
        "import tutelage as tl\ndef two(epochs): return [tl.Stage(tl.HardLabels(), epochs)] * 2\n"
    )
    again = tl.Recipe.from_file("job.yaml", ["stages={own.py:two: {epochs: 1}}", "out=runs/own"])
    assert [each["stage"] for each in again.run().history] == ["1-stage", "2-stage"]


def test_stages_have_objectives_of_their_own(job):
    run = recipe(
        job,
        """
teacher: job.py:net
student: job.py:small
data: job.py:data
stages:
  - objective: {FeatureMatch: {layer_map: {1: 3}, weight: 50}}
    epochs: 1
    name: hint
  - {objective: {SoftTargets: 2}, epochs: 2, trainable: [4]}
""",
    ).run()
    assert [record["stage"] for record in run.history] == ["1-hint", "2-stage", "2-stage"]


def test_a_recipe_of_values_is_that_of_a_file(job):
    values = {
        "teacher": "job.py:net",
        "student": "job.py:small",
        "data": "job.py:data",
        "objective": {"SoftTargets": 4},
        "training": {"epochs": 1},
        "out": "runs/values",
    }
    found = tl.Recipe(values).run()
    assert (job / "runs" / "values" / "recipe.yaml").exists()
    again = tl.Recipe.from_file("runs/values/recipe.yaml", ["out=runs/again"]).run()
    assert torch.equal(weights(found), weights(again))


@pytest.mark.parametrize("schedule", ["{Linear: {start: 8, end: 1}}", "{Step: {values: {0: 8}}}"])
def test_a_temperature_may_be_a_schedule(job, schedule):
    run = recipe(job, RECIPE.replace("temperature: 4", f"temperature: {schedule}")).run()
    kind = type(run.objective.terms()[1].objective.temperature)
    assert kind.__name__ in schedule


@pytest.mark.usefixtures("job")
def test_labels_of_unlabelled_data_are_not_read():
    data = {"train": "job.py:train", "unlabelled": "job.py:test"}
    splits = tl.Recipe({"data": data})._job().load().data
    assert [int(each[1]) for each in splits.train][48:] == [-100] * 24
    assert -100 not in [int(each[1]) for each in splits.labelled]


@pytest.mark.parametrize(
    "names", [["news:en", "news:de"], ["news:en"], ["Stored", "law"], ["Stored", "Ensemble"]]
)
def test_domains_have_any_names(names):
    teacher = dict.fromkeys(names, "job.py:net")
    model = tl.Recipe({"student": "job.py:net", "data": "job.py:train", "teacher": teacher}).model
    assert [*model.teacher.root] == names


@pytest.mark.parametrize("given", [{"Ensemble": {"teachers": ["job.py:net"]}}, {"a.py:Mine": {}}])
def test_one_class_of_teachers_is_that_class(given):
    values = {"student": "job.py:net", "data": "job.py:train", "teacher": given}
    assert tl.Recipe(values).model.teacher.root.one()[0] in given


def test_a_scheduler_without_a_number_of_steps_is_that_of_the_call(job, caplog):
    (job / "own.py").write_text(
        "from job import train\n"
        "from torch.optim.lr_scheduler import StepLR\n"
        "from torch.utils.data import IterableDataset\n"
        "class Stream(IterableDataset):\n"
        "    def __iter__(self): return iter(train())\n"
        "def stream(): return Stream()\n"
        "def mine(optimizer): return StepLR(optimizer, 2)\n"
    )
    for scheduler in ("{ExponentialLR: {gamma: 0.9}}", "own.py:mine"):
        overrides = [
            f"training.scheduler={scheduler}",
            "training.epochs=1",
            f"out=runs/{scheduler[1:5]}",
        ]
        tl.Recipe.from_file("job.yaml", [*overrides, "data=own.py:stream"]).run(fresh=True)
        tl.Recipe.from_file("job.yaml", overrides).run(fresh=True)
        longer = tl.Recipe.from_file("job.yaml", [*overrides, "training.epochs=2"]).run()
        assert len(longer.history) == 2
    assert "has T_max" not in caplog.text
    scheduler = "training.scheduler={CosineAnnealingLR: {T_max: 2}}"
    tl.Recipe.from_file("job.yaml", [scheduler]).run()
    assert caplog.text.count("has T_max=2, and the run has 6") == 1


@pytest.mark.usefixtures("job")
def test_another_schedule_of_the_learning_rate_is_another_run():
    given = "training.scheduler={Linear: {start: 1, end: 0.1}}"
    tl.Recipe.from_file("job.yaml", [given]).run()
    tl.Recipe.from_file("job.yaml", [given]).run()
    with pytest.raises(tl.RunFolderError, match="scheduler"):
        tl.Recipe.from_file("job.yaml", [given.replace("0.1", "0.5")]).run()


@pytest.mark.usefixtures("job")
def test_models_are_evaluated_where_they_are_trained(monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    for overrides in ((), ("training.engine.precision=bf16",)):
        assert tl.Recipe.from_file("job.yaml", overrides)._job().device.type == "meta"
    on_cpu = tl.Recipe.from_file("job.yaml", ["training.engine.device=cpu"])
    assert on_cpu._job().device.type == "cpu"
