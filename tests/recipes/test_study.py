"""The study of a recipe is the study of the call."""

import pytest
import torch

import tutelage as tl
from recipe_sources import RECIPE
from tutelage.recipes import study_recipe
from tutelage.recipes.building import Builder
from tutelage.recipes.reading import parse

STUDY = """
study:
  seeds: 2
  margin: 0.05
  primary: soft
  arms:
    soft: {SoftTargets: 2}
    both: {objective: {HardLabels: , SoftTargets: 2}, transform: Mixup, note: mixed}
    staged:
      stages:
        - {objective: {FeatureMatch: {layer_map: {1: 3}}}, epochs: 1}
        - {objective: {SoftTargets: 2}, epochs: 1}
  controls: {labels: {HardLabels: }}
  sweep: {learning_rate: [0.01, 0.003]}
  report: {title: Small}
"""


def test_a_study(job):
    (job / "job.yaml").write_text(RECIPE + STUDY)
    found = tl.Recipe.from_file("job.yaml").study()
    record = found.results
    assert [arm.name for arm in record.arms] == ["labels", "soft", "both", "staged"]
    assert (record.primary, record.title, record.seeds) == ("soft", "Small", (0, 1))
    assert (job / "runs" / "job" / "study" / "results.json").exists()
    kept = job / "runs" / "job" / "study" / "recipe.yaml"
    again = tl.Recipe.from_file(kept).study()  # finds its trials
    assert again.results.arms[1].trials[0].metrics == record.arms[1].trials[0].metrics


def test_the_default_arm_is_the_recipes_objective(job):
    (job / "job.yaml").write_text(RECIPE + "study: {seeds: 2}\nlabel: {}\n")
    found = tl.Recipe.from_file("job.yaml", ["training.epochs=1"]).study()
    assert found.results.primary == "distilled"
    assert found.results.controls


BLOCKS = """
teacher: job.py:blocks
student: {every_nth_layer: 2}
data: job.py:data
training: {epochs: 1, batch_size: 16}
out: runs/job
study:
  seeds: 1
  arms:
    mapped:
      objective: {FeatureMatch: {layer_map: from_student}}
      student: {keep_layers: [0, 1]}
      sweep: {objective: [{FeatureMatch: {layer_map: from_student}}, {SoftTargets: 2}]}
    tried:
      objective: {SoftTargets: 2}
      sweep: {student: [{every_nth_layer: 2}, job.py:small]}
"""


def test_what_an_arm_tries_is_of_its_own_student(job, monkeypatch):
    calls = []
    monkeypatch.setattr(study_recipe, "study", lambda *_, **given: calls.append(given))
    places, map_of = [], Builder.map_of
    monkeypatch.setattr(
        Builder, "map_of", lambda *given: places.append(given[-1]) or map_of(*given)
    )
    (job / "job.yaml").write_text(BLOCKS)
    study_recipe.carry_out_study(tl.Recipe.from_file("job.yaml")._job())
    assert places == [("student",), ("study", "arms", "mapped", "student")]  # where it is needed
    mapped, tried = calls[0]["arms"].values()
    for objective in (mapped.objective, mapped.sweep.grid["objective"][0]):
        assert objective.layer_map == {"0": "0", "1": "1"}
    made, fresh = tried.sweep.grid["student"]
    assert len(made) == 2
    assert not torch.equal(fresh()[0].weight, fresh()[0].weight)  # another for each seed


@pytest.mark.parametrize(
    ("given", "epochs", "steps"),
    [({}, None, 3), ({"epochs": 1}, 1, None), ({"training": {"steps": 2}}, None, 2)],
)
@pytest.mark.usefixtures("job")
def test_a_study_is_as_long_as_the_training(monkeypatch, given, epochs, steps):
    calls = []
    monkeypatch.setattr(study_recipe, "study", lambda *_, **given: calls.append(given))
    values = dict(parse(RECIPE, "r").values) | {"training": {"steps": 3}, "study": given}
    tl.Recipe(values).study()
    assert (calls[0].get("epochs"), calls[0]["training"].steps) == (epochs, steps)


@pytest.mark.usefixtures("job")
def test_metrics_of_a_study_may_be_classes(monkeypatch):
    calls = []
    monkeypatch.setattr(study_recipe, "study", lambda *_, **given: calls.append(given))
    study = {"metrics": {"overlap": "MeanIoU"}}
    tl.Recipe(dict(parse(RECIPE, "r").values) | {"study": study}).study()
    assert isinstance(calls[0]["metrics"]["overlap"], tl.evaluation.MeanIoU)


@pytest.mark.parametrize("where", ["arm", "study"])
def test_a_map_of_one_student_is_refused_where_several_are_tried(job, where):
    sweep = "sweep: {student: [{every_nth_layer: 2}, {every_nth_layer: 3}]}\n"
    arm = "    mapped:\n      objective: {FeatureMatch: {layer_map: from_student}}\n"
    text = BLOCKS[: BLOCKS.index("    mapped:")] + arm
    text += f"      {sweep}" if where == "arm" else f"  {sweep}"
    (job / "job.yaml").write_text(text)
    with pytest.raises(tl.RecipeError, match=r"line 11: .*from_student.*several that"):
        tl.Recipe.from_file("job.yaml").study()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("primary: soft", "primery: soft", "line 17: `study.primery` is unknown; did you mean"),
        ("note: mixed", "notes: x", "`study.arms.both.notes` is unknown; did you mean 'note'"),
        ("{SoftTargets: 2}\n    both", "{SoftTarget: 2}\n    both", "`study.arms.soft.SoftTarget`"),
        ("learning_rate:", "learnin_rate:", "`study.sweep.learnin_rate` is unknown; did you mean "),
        ("margin: 0.05", "margin: -1", "line 16: `margin` must be zero or more, got -1.0"),
    ],
)
def test_what_is_wrong_is_named(job, old, new, message):
    assert old in STUDY
    (job / "job.yaml").write_text(RECIPE + STUDY.replace(old, new))
    with pytest.raises(tl.TutelageError) as raised:
        tl.Recipe.from_file("job.yaml").study()
    assert message in str(raised.value)
