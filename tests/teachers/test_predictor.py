import math

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.signals import Batch
from tutelage.teachers import Predictor
from tutelage.wants import OUTPUT, Fields

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
LABELS = (X[:, 0] > 0).long().numpy()


def ask(predict, inputs=X, **options):
    return Predictor(predict, **options).signals(Batch(inputs), OUTPUT).output


def test_probabilities_become_logits_with_the_same_softmax():
    forest = RandomForestClassifier(5, max_depth=1, random_state=0).fit(X.numpy(), LABELS)
    expected = torch.from_numpy(forest.predict_proba(X.numpy())).float()
    logits = ask(forest.predict_proba, probabilities=True)
    torch.testing.assert_close(logits.softmax(dim=1), expected, rtol=1e-4, atol=2e-6)


def test_a_probability_of_zero_becomes_the_logarithm_of_the_floor():
    logits = ask(lambda x: np.tile([0.0, 1.0], (len(x), 1)), probabilities=True, floor=1e-4)
    torch.testing.assert_close(logits[0], torch.tensor([np.log(1e-4), 0.0], dtype=torch.float32))


def test_values_become_a_column():
    model = LinearRegression().fit(X.numpy(), X[:, 0].numpy())
    output = ask(model.predict)
    assert output.shape == (20, 1)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output[:, 0], X[:, 0], rtol=1e-4, atol=1e-5)


def test_the_output_may_be_a_list_of_any_numbers():
    assert ask(lambda x: [[1, 2]] * len(x), X[:2]).tolist() == [[1.0, 2.0], [1.0, 2.0]]


def test_the_output_is_not_overwritten_by_the_next():
    buffer = np.ones(2, dtype=np.float32)
    predictor = Predictor(lambda _: buffer)
    first = predictor.signals(Batch(X[:2]), OUTPUT).output
    buffer[:] = 0
    assert first.tolist() == [[1.0], [1.0]]


def test_texts_are_given_as_an_array():
    output = ask(lambda texts: [len(each) for each in texts], ["a", "bcd"])
    assert output.tolist() == [[1.0], [3.0]]
    predictor = Predictor(lambda texts: [len(each) for each in texts])
    with predictor.ready(torch.device("meta")):
        assert predictor.signals(Batch(["a", "bcd"]), OUTPUT).output.device.type == "meta"


def test_several_inputs_are_refused():
    with pytest.raises(ModelError, match="one tensor, or texts, got"):
        ask(lambda x: x[:, 0], {"features": X, "mask": X + 1})


def test_a_single_named_input_is_used():
    assert ask(lambda x: x[:, 0], {"features": X})[:, 0].tolist() == X[:, 0].tolist()


def test_probabilities_instead_of_logits_are_refused():
    """The softmax of probabilities is a nearly even distribution: a quiet, weak teacher."""
    with pytest.raises(ModelError, match="pass probabilities=True"):
        ask(lambda x: np.full((len(x), 4), 0.25), X)


def test_a_few_rows_of_values_may_sum_to_one():
    """The last batch of an epoch may be one example, whose two values do so by chance."""
    row = torch.tensor([[0.4, 0.6]])
    assert torch.equal(ask(lambda x: x, row), row)
    with pytest.raises(ModelError, match="pass probabilities=True"):
        ask(lambda x: x, row.expand(4, 2))


def test_inputs_may_require_gradients():
    assert ask(lambda x: x[:, 0], X.clone().requires_grad_()).requires_grad is False


def test_nothing_is_computed_if_nothing_is_required():
    def fail(_):
        raise AssertionError

    assert Predictor(fail).signals(Batch(X), Fields()).output is None


@pytest.mark.parametrize(
    "shape", [(), (19,), (21, 2), (20, 2, 2)], ids=["scalar", "too few", "too many", "too deep"]
)
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(
        ModelError, match=r"must return \[20\] or \[20, outputs\] values, got shape"
    ):
        ask(lambda _: np.zeros(shape))


@pytest.mark.parametrize("wrong", [-0.5, 1.5, 7.0, np.nan, np.inf])
def test_invalid_probabilities_are_refused(wrong):
    with pytest.raises(ModelError, match=r"must lie in \[0, 1\], got .*probabilities=False"):
        ask(lambda x: np.full((len(x), 2), [wrong, 0.5]), probabilities=True)


def test_probabilities_that_do_not_sum_to_one_are_refused():
    """As those of binary labels, whose softmax would be of another distribution."""
    p = np.tile([0.9, 0.8, 0.1], (len(X), 1))
    with pytest.raises(ModelError, match=r"sums from 1\.8 to 1\.8; pass binary=True"):
        ask(lambda _: p, probabilities=True)
    logits = ask(lambda _: p, probabilities=True, binary=True)
    torch.testing.assert_close(logits.sigmoid(), torch.from_numpy(p).float())


def test_rounding_errors_above_one_are_accepted():
    logits = ask(lambda x: np.full((len(x), 1), 1.00001), probabilities=True)
    assert logits[0].item() == pytest.approx(1e-5, rel=0.1)


def test_an_error_of_the_callable_is_the_cause_of_one_that_names_it():
    model = LinearRegression().fit(np.zeros((4, 7)), np.zeros(4))
    with pytest.raises(
        ModelError, match=r"teacher \(.*predict\) refused its inputs float32 \[20, 3\] with ValueEr"
    ) as caught:
        ask(model.predict)
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_output_that_is_not_an_array_of_numbers_is_refused():
    with pytest.raises(ModelError, match="refused its inputs"):
        ask(lambda x: ["cat"] * len(x))


def test_inputs_of_a_dtype_that_numpy_lacks_are_refused():
    with pytest.raises(ModelError, match=r"refused its inputs bfloat16 \[20, 3\]"):
        ask(lambda x: x[:, 0], X.bfloat16())


@pytest.mark.parametrize("floor", [0, -1e-6, float("nan"), 1, 2.0])
def test_floor_must_be_a_small_probability(floor):
    with pytest.raises(ArgumentError, match=r"`floor` must .*logarithm"):
        Predictor(len, floor=floor)


def test_fingerprint_changes_with_the_fitted_model():
    one, other = (LinearRegression().fit(X.numpy(), X[:, position].numpy()) for position in (0, 1))
    again = LinearRegression().fit(X.numpy(), X[:, 0].numpy())
    assert Predictor(one.predict).fingerprint() == Predictor(again.predict).fingerprint()
    assert Predictor(one.predict).fingerprint() != Predictor(other.predict).fingerprint()


def test_a_callable_may_have_a_fingerprint_of_its_own():
    class Model:
        def __call__(self, inputs):
            return inputs

        def fingerprint(self):
            return "mine"

    assert Predictor(Model()).fingerprint() == "mine"


def test_fingerprint_changes_with_the_settings():
    """A store of logits from another floor has other targets."""
    teachers = [
        Predictor(len),
        Predictor(len, probabilities=True),
        Predictor(len, probabilities=True, floor=1e-3),
        Predictor(len, probabilities=True, binary=True),
    ]
    assert len({each.fingerprint() for each in teachers}) == 4


class TestBinaryProbabilities:
    P = np.array([[0.0, 0.25], [0.5, 1.0], [0.9, 0.1]], dtype=np.float32)
    BATCH = Batch(torch.zeros(3, 2))

    def test_logits_have_these_probabilities_as_their_sigmoid(self):
        teacher = Predictor(lambda _: self.P, probabilities=True, binary=True, floor=1e-6)
        logits = teacher.signals(self.BATCH, OUTPUT).output
        torch.testing.assert_close(logits.sigmoid(), torch.from_numpy(self.P), rtol=0, atol=2e-6)
        assert logits[0, 0].item() == pytest.approx(-math.log(1e6), rel=1e-4)
        assert logits[1, 1].item() == pytest.approx(math.log(1e6), rel=1e-4)

    def test_a_column_is_the_probability_of_a_single_label(self):
        teacher = Predictor(lambda _: self.P[:, 1], probabilities=True, binary=True)
        logits = teacher.signals(self.BATCH, OUTPUT).output
        assert logits.shape == (3, 1)

    def test_probabilities_of_another_kind_than_the_objectives_are_refused(self):
        classes = Predictor(lambda _: self.P, probabilities=True)
        labels = Predictor(lambda _: self.P, probabilities=True, binary=True)
        for teacher, objective in ((classes, tl.BinaryTargets()), (labels, tl.SoftTargets())):
            with pytest.raises(ArgumentError, match=r"of the objective's kind.*set `binary` to"):
                tl.Distiller(torch.nn.Linear(2, 2), teacher, objective)
            with pytest.raises(ArgumentError, match=r"of the objective's kind"):
                tl.Distiller(torch.nn.Linear(2, 2), [teacher, teacher], objective)
        tl.Distiller(torch.nn.Linear(2, 2), classes, tl.SoftTargets())
        tl.Distiller(torch.nn.Linear(2, 2), labels, tl.BinaryTargets())
        tl.Distiller(torch.nn.Linear(2, 2), Predictor(lambda _: self.P), tl.BinaryTargets())

    def test_the_fingerprint_tells_the_kind(self):
        plain, binary = (Predictor(len, probabilities=True, binary=each) for each in (False, True))
        assert plain.fingerprint() != binary.fingerprint()

    def test_binary_needs_probabilities(self):
        with pytest.raises(ArgumentError, match="`binary` says of which kind probabilities are"):
            Predictor(len, binary=True)
