"""The study of a recipe is the study of the call."""

import pytest

import tutelage as tl
from recipe_sources import RECIPE

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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("primary: soft", "primery: soft", "line 17: `study.primery` is unknown; did you mean"),
        ("note: mixed", "notes: x", "`study.arms.both.notes` is unknown; did you mean `note`?"),
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
