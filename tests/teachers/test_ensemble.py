import copy
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.signals import Batch
from tutelage.teachers import (
    Ensemble,
    Predictor,
    Specialist,
    Teacher,
    by_entropy,
    by_label_confidence,
    mean_of_gaussians,
    mean_of_probabilities,
)
from tutelage.wants import OUTPUT, Fields

X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 4
CPU = torch.device("cpu")


def net(seed, columns=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, columns))


def output_of(model):
    with torch.no_grad():
        return model(X)


A, B, C = net(0), net(1), net(2)


def ask(teacher, fields=OUTPUT, labels=None):
    return teacher.signals(Batch(X, labels), fields)


def sharpened(outputs, batch, power):
    return by_entropy(outputs, batch) ** power


class Recording(Teacher):
    """Says zeros, and remembers what was asked of it."""

    def __init__(self):
        self.devices, self.homes, self.fields = [], [], []

    def signals(self, batch, fields):
        self.devices.append(batch.inputs.device)
        self.fields.append(fields)
        return tl.Signals(torch.zeros(len(batch), 4, device=batch.inputs.device))

    @contextmanager
    def ready(self, device):
        self.homes.append(device)
        yield
        self.homes.append("back")

    def fingerprint(self):
        return "recording"


def test_the_default_is_the_mean_of_outputs():
    expected = (output_of(A) + output_of(B) + output_of(C)) / 3
    torch.testing.assert_close(ask(Ensemble([A, B, C])).output, expected)


def test_weights_are_normalized():
    expected = 0.75 * output_of(A) + 0.25 * output_of(B)
    torch.testing.assert_close(ask(Ensemble([A, B], weights=[3, 1])).output, expected)


@pytest.mark.parametrize("kind", [tuple, torch.tensor, np.array])
def test_weights_may_be_in_any_list(kind):
    torch.testing.assert_close(
        ask(Ensemble([A, B], weights=kind([1.0, 3.0]))).output,
        (output_of(A) + 3 * output_of(B)) / 4,
    )


def test_a_weight_of_zero_leaves_a_teacher_out():
    torch.testing.assert_close(ask(Ensemble([A, B], weights=[1, 0])).output, output_of(A))


def test_probabilities_may_be_averaged():
    output = ask(Ensemble([A, B], [1, 3], mean_of_probabilities)).output
    expected = 0.25 * output_of(A).softmax(dim=1) + 0.75 * output_of(B).softmax(dim=1)
    torch.testing.assert_close(output.exp(), expected)


@pytest.mark.parametrize("weighting", [by_label_confidence, by_entropy])
def test_weights_may_differ_between_examples(weighting):
    batch = Batch(X, LABELS)
    weights = weighting(torch.stack([output_of(A), output_of(B)]), batch)
    assert weights.std() > 0.01
    expected = weights[0, :, None] * output_of(A) + weights[1, :, None] * output_of(B)
    output = Ensemble([A, B], weights=weighting).signals(batch, OUTPUT).output
    torch.testing.assert_close(output, expected)


def test_weights_of_a_users_function_are_normalized():
    ensemble = Ensemble([A, B], weights=lambda outputs, _: torch.full(outputs.shape[:2], 5.0))
    torch.testing.assert_close(ask(ensemble).output, (output_of(A) + output_of(B)) / 2)


def test_regressors_are_averaged():
    one, other = net(0, 1), net(1, 1)
    output = ask(Ensemble([one, other], weights=[3, 1])).output
    torch.testing.assert_close(output, 0.75 * output_of(one) + 0.25 * output_of(other))


def test_gaussian_heads_are_averaged():
    outputs = torch.stack([output_of(A), output_of(B)])
    expected = mean_of_gaussians(outputs, torch.full((2, 1, 1), 0.5))
    torch.testing.assert_close(ask(Ensemble([A, B], average=mean_of_gaussians)).output, expected)


def test_the_output_is_a_plain_tensor_in_float32_at_least():
    half = copy.deepcopy(B).to(torch.bfloat16)
    low = tl.teachers.Predictor(lambda x: half(torch.from_numpy(x).bfloat16()).float().detach())
    for ensemble in (Ensemble([A, B]), Ensemble([A, low])):
        output = ask(ensemble).output
        assert output.dtype == torch.float32
        assert not output.is_inference()
        assert not output.requires_grad


class TestFeatures:
    def test_a_layer_path_begins_with_the_members_name(self):
        paths = frozenset({"big/1", "small/0:input", "small/2"})
        ensemble = Ensemble({"big": A, "small": B})
        signals = ask(ensemble, Fields(True, paths))
        assert signals.features.keys() == paths
        torch.testing.assert_close(signals.features["big/1"], A[:2](X))
        torch.testing.assert_close(signals.features["small/0:input"], X)
        torch.testing.assert_close(signals.features["small/2"], output_of(B))
        torch.testing.assert_close(signals.output, (output_of(A) + output_of(B)) / 2)

    def test_members_of_a_list_are_numbered(self):
        signals = ask(Ensemble([A, B]), Fields(features=frozenset({"1/0"})))
        torch.testing.assert_close(signals.features["1/0"], B[0](X))
        assert signals.output is None

    def test_members_that_are_not_required_do_not_run(self):
        idle = Recording()
        ask(Ensemble({"a": A, "idle": idle}), Fields(features=frozenset({"a/0"})))
        assert not any(idle.fields)

    def test_a_layer_name_may_contain_the_separator(self):
        odd = nn.Sequential()
        odd.add_module("a/b", nn.Linear(3, 2))
        signals = ask(Ensemble({"odd": odd}), Fields(features=frozenset({"odd/a/b"})))
        assert signals.features["odd/a/b"].shape == (8, 2)

    @pytest.mark.parametrize("path", ["layer3", "large/0", "/0"])
    def test_other_layer_paths_are_refused(self, path):
        with pytest.raises(ArgumentError, match=r"written member/layer .*\['big'\].*'big/"):
            ask(Ensemble({"big": A}), Fields(features=frozenset({path})))

    def test_a_student_can_learn_from_a_members_layer(self):
        objective = tl.FeatureMatch({"0": "big/0"}) + tl.SoftTargets(2.0)
        student = net(5)
        run = tl.distill(
            Ensemble({"big": A, "small": B}), student, train=torch.utils.data.TensorDataset(X),
            objective=objective, epochs=2, batch_size=4,
        )  # fmt: skip
        assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]


class TestDevices:
    def test_members_are_moved_to_the_device_and_back(self):
        members = Recording(), Recording()
        with Ensemble(members).ready(torch.device("meta")):
            assert [each.homes for each in members] == [[torch.device("meta")]] * 2
        assert [each.homes[-1] for each in members] == ["back", "back"]

    def test_a_member_may_have_a_device_of_its_own(self):
        here, there = Recording(), Recording()
        ensemble = Ensemble([here, there], devices=[None, "meta"])
        with ensemble.ready(CPU):
            assert (here.homes, there.homes) == ([CPU], [torch.device("meta")])
        with pytest.raises(NotImplementedError, match="meta"):  # which has no data to bring back
            ask(ensemble)
        assert (here.devices, there.devices) == ([CPU], [torch.device("meta")])

    def test_outputs_return_to_the_device_of_the_batch(self):
        ensemble = Ensemble([A, B], devices=["cpu", None])
        torch.testing.assert_close(ask(ensemble).output, (output_of(A) + output_of(B)) / 2)


class TestFingerprint:
    def test_it_changes_with_members_names_weights_and_average(self):
        ensembles = [
            Ensemble([A, B]),
            Ensemble([B, A]),
            Ensemble([A, C]),
            Ensemble({"a": A, "b": B}),
            Ensemble([A, B], weights=[1, 2]),
            Ensemble([A, B], weights=by_entropy),
            Ensemble([A, B], weights=partial(sharpened, power=2)),
            Ensemble([A, B], weights=partial(sharpened, power=3)),
            Ensemble([A, B], average=mean_of_probabilities),
        ]
        assert len({each.fingerprint() for each in ensembles}) == len(ensembles)

    def test_equal_teachers_have_equal_fingerprints(self):
        again = Ensemble([copy.deepcopy(A), B], weights=[2, 2])
        assert again.fingerprint() == Ensemble([A, B]).fingerprint()
        one, other = (Ensemble([A], weights=partial(sharpened, power=2)) for _ in range(2))
        assert one.fingerprint() == other.fingerprint()


WRONG_WEIGHTS = [
    [0, 0], [1], [1, 2, 3], [-1, 2], [float("nan"), 1], 0.5,
    torch.tensor(1.0),
]  # fmt: skip


class TestBadInput:
    @pytest.mark.parametrize(
        "given",
        [
            torch.tensor([[-1.0], [2.0]]).expand(2, 8),
            torch.zeros(2, 8),
            torch.full((2, 8), torch.nan),
            torch.ones(8, 2),
            torch.ones(2),
        ],
        ids=["negative", "no sum", "NaN", "turned", "for all examples"],
    )
    def test_weights_that_would_change_the_mean_unnoticed(self, given):
        """Those of another shape broadcast for some sizes of a batch."""
        teacher = Ensemble([A, B], weights=lambda *_: given)
        with pytest.raises(ModelError, match="zero or more for each teacher and example"):
            ask(teacher)

    @pytest.mark.parametrize("weights", WRONG_WEIGHTS)
    def test_weights(self, weights):
        with pytest.raises(ArgumentError, match=r"`weights` must be"):
            Ensemble([A, B], weights=weights)

    def test_members(self):
        with pytest.raises(ModelError, match=r"must be a torch.nn.Module, a Teacher, .* got int"):
            Ensemble([A, 3])

    def test_names_that_are_one_text(self):
        with pytest.raises(ArgumentError, match="names that differ as texts"):
            Ensemble({1: A, "1": B})

    def test_a_member_of_some_classes(self):
        with pytest.raises(ModelError, match=r"needs all classes of the teacher"):
            ask(Ensemble([A, Specialist(B, labels=[0, 1, 2])]))


def test_members_may_take_texts():
    lengths = Predictor(lambda texts: [[len(each), 0.0] for each in texts])
    found = Ensemble([lengths, lengths]).signals(Batch(["a", "bcd"]), OUTPUT).output
    assert torch.equal(found.argmax(1), torch.tensor([0, 0]))


def named(seed, *names):
    model = net(seed, len(names) or 4)
    model.class_names = names or None
    return model


class TestClassNames:
    def test_other_orders_are_refused(self):
        order = r"one order, got a, b, c, d of 'x' and b, a, c, d of 'y'; .*Specialist"
        with pytest.raises(ModelError, match=order):
            Ensemble({"x": named(0, *"abcd"), "z": B, "y": named(1, *"bacd")})

    def test_other_orders_are_refused_of_specialists_too(self):
        members = {"photo": named(0, *"abcd"), "sketch": named(1, *"bacd")}
        with pytest.raises(ModelError, match=r"of Specialists .* a, b, c, d of 'photo' and b, a"):
            tl.teachers.Specialists(members)

    def test_a_function_may_have_names(self):
        def predict(inputs):
            return inputs

        predict.class_names = ("b", "a")
        with pytest.raises(ModelError, match="one order, got a, b of '0' and b, a of '1'"):
            Ensemble([named(0, "a", "b"), Predictor(predict)])

    @pytest.mark.parametrize(
        ("others", "told"),
        [
            ([named(1, *"abcd")], None),
            ([B, named(1, *"abcd"), C], "'1', '3'"),
            ([named(1, *"ABCD")], "'1'"),
            ([Specialist(named(1, *"dcba"), [3, 2, 1, 0], False, classes=4)], None),
        ],
    )
    def test_an_order_that_is_not_known_is_told(self, others, told, caplog):
        assert ask(Ensemble([named(0, *"abcd"), *others])).output.shape == (8, 4)
        expected = f"{told} in Ensemble is not known, and taken to be that of '0': a, b, c, d"
        assert (expected in caplog.text) if told else not caplog.text

    def test_without_any_names_nothing_is_told(self, caplog):
        Ensemble([A, B])
        assert not caplog.text


def test_devices_are_one_for_each_member():
    with pytest.raises(
        ArgumentError, match="`devices` must name one for each of 2 teachers, got 1"
    ):
        Ensemble([nn.Linear(2, 3), nn.Linear(2, 3)], devices=["cpu"])
