"""Arms whose students write their texts, against controls on the given texts."""

from typing import Any

import pytest

import tutelage as tl
from language_models import make, texts
from tutelage.studies.controls import built_in_controls
from tutelage.tasks import TASKS

TRAIN, TEST, OTHERS = texts(8), texts(6, seed=5), texts(8, seed=6)
PROMPTS = [{"input_ids": each["input_ids"][:2]} for each in OTHERS]
SOFT = tl.RowMean(tl.ReverseKL())


def policy(*data, **settings):
    return tl.OnPolicy(*data, **{"max_new_tokens": 4} | settings)


def study(arms, **settings):
    options = {"train": TRAIN, "test": TEST, "seeds": 1, "epochs": 2, "progress": False} | settings
    training = tl.Training(engine=tl.Engine(device="cpu", progress=False), batch_size=4)
    return tl.study(
        make("Llama", 32, seed=1), lambda: make("Llama"), arms=arms, training=training, **options
    )


def test_a_study_has_arms_of_both_kinds(tmp_path):
    arms = {
        "given": SOFT,
        "on-policy": tl.Arm(objective=SOFT, train=policy(TRAIN)),
        "from prompts": tl.Arm(objective=SOFT, train=policy(PROMPTS, share=1)),
        "with others": tl.Arm(objective=SOFT, train=policy(PROMPTS, OTHERS)),
    }
    found = study(arms, out=tmp_path / "study")
    record = found.results
    controls = [each.name for each in record.controls]
    assert controls == ["labels", "smoothed labels", "labels, same data as with others"]
    steps = {name: record.arm(name).trials[0].curves["train/loss"].steps for name in arms}
    assert len(set(steps.values())) == 1
    weights = [found.student(name).state_dict() for name in ("given", "on-policy")]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])
    again = study(arms, out=tmp_path / "study")
    assert again.results.arm("on-policy").metrics == record.arm("on-policy").metrics
    found.report(tmp_path / "page.html")


def test_another_share_is_another_trial(tmp_path):
    found = []
    for share in (0.5, 1):
        arms = {"on-policy": tl.Arm(objective=SOFT, train=policy(TRAIN, share=share))}
        found.append(study(arms, out=tmp_path / "study", controls={"labels": tl.HardLabels()}))
    weights = [each.student("on-policy").state_dict() for each in found]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


def test_controls_learn_from_the_given_texts():
    def controls(train) -> dict[str, Any]:
        arm = tl.Arm(objective=SOFT, train=train)
        found, notes = built_in_controls({"arm": arm}, TASKS["classes"], TRAIN, 2, 0)
        assert notes == ()
        return {name: each.train for name, each in found.items() if each.train is not None}

    assert controls(policy(TRAIN)) == controls(policy(PROMPTS, share=1)) == {}
    [given] = controls(policy(PROMPTS, OTHERS)).values()
    assert given is OTHERS
    [made] = controls(lambda seed: policy(PROMPTS, texts(4, seed=seed))).values()
    assert [len(each["input_ids"]) for each in made(3)] == [
        len(each["input_ids"]) for each in texts(4)
    ]
    several = {"train": [policy(TRAIN), policy(OTHERS), policy(OTHERS, share=0.2)]}
    arms = {"arm": tl.Arm(objective=SOFT, sweep=several)}
    found, _ = built_in_controls(arms, TASKS["classes"], TRAIN, 2, 0)
    assert [each.sweep for each in found.values()][2:] == [{"train": [None, OTHERS]}]


def test_prompts_and_texts_that_are_test_data_are_found():
    for data in (policy(TEST), policy(PROMPTS, TEST)):
        with pytest.raises(tl.DataError, match="in common"):
            study({"arm": tl.Arm(objective=SOFT, train=data)})


def test_the_data_of_a_study_are_given():
    with pytest.raises(tl.ArgumentError, match="must be given texts"):
        study({"soft": SOFT}, train=policy(TRAIN))
    with pytest.raises(tl.DataError, match=r"tl.OnPolicy is data for `train`"):
        study({"soft": SOFT}, test=policy(TRAIN))
