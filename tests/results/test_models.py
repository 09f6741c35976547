"""What is measured of models, and the reason given where something cannot be measured."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.evaluation import predict
from tutelage.results.models import Timing, measure_models, measure_variants
from tutelage.teachers import Ensemble, Live, Predictor, Specialists, Stored

INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS[:, 0] > 0).long()
DATA = TensorDataset(INPUTS, LABELS)


def timing(data, size=8):
    return Timing("test", data, size, 0.002, 2)


def one(model, data=DATA):
    return measure_models({"model": model}, timing(data))["model"]


def test_everything_is_measured_where_it_can_be():
    found = one(Live(nn.Linear(4, 2)))
    assert [each.batch_size for each in found.latencies] == [1, 8]
    assert (found.cost.parameters, found.cost.flops, found.cost.activation_bytes) == (10, 16, 8)
    assert (found.name, found.untimed, found.uncounted, found.device) == ("model", "", "", "cpu")


@pytest.mark.parametrize("rows", [1, 5, 8, 40])
def test_no_more_inputs_are_timed_than_there_are(rows):
    for data in (TensorDataset(INPUTS[:rows]), DataLoader(TensorDataset(INPUTS[:rows]), 40)):
        found = one(Live(nn.Linear(4, 2)), data)
        assert [each.batch_size for each in found.latencies] == sorted({1, min(rows, 8)})


def test_a_model_without_data_has_its_size_and_the_reason():
    found = one(Live(nn.Linear(4, 2)), None)
    assert found.cost.parameters == 10
    assert (found.latencies, found.cost.flops) == ((), None)
    assert found.untimed == found.uncounted == "there is no validation data to take inputs from"


def test_a_store_has_no_cost_alone_or_in_a_team(tmp_path):
    store = Stored(tl.label(nn.Linear(4, 2), DATA, out=tmp_path))
    for teacher in (store, Ensemble([store, nn.Linear(4, 2)])):
        found = one(teacher)
        assert (found.cost, found.latencies) == (None, ())
        assert found.untimed == found.uncounted == "its outputs are read from a store"


def test_a_callable_has_a_time_and_no_size():
    found = one(Predictor(lambda inputs: inputs[:, :2]))
    assert len(found.latencies) == 2
    assert (found.cost, found.untimed, found.uncounted) == (None, "", "not a PyTorch module")


def test_specialists_without_domains_are_not_timed_and_say_why():
    found = one(Specialists({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}))
    assert found.name == "2 teachers together"
    assert found.cost.parameters == 20
    assert (found.latencies, found.cost.flops) == ((), None)
    assert found.untimed.startswith("specialists need each example's domain, got a batch without")
    assert found.uncounted == found.untimed


def test_one_model_that_fails_leaves_the_times_of_others():
    class Failing(nn.Linear):
        def forward(self, inputs):
            raise RuntimeError("a kernel is missing\nand more")

    found = measure_models(
        {"bad": Live(Failing(4, 2)), "good": Live(nn.Linear(4, 2))}, timing(DATA)
    )
    assert "a kernel is missing" in found["bad"].untimed
    assert len(found["good"].latencies) == 2


def test_inputs_that_cannot_be_split_are_a_reason():
    class Whole(nn.Linear):
        def forward(self, graph):
            return super().forward(graph["nodes"])

    batches = DataLoader([{"graph": {"nodes": INPUTS, "edges": torch.zeros(7, 2)}}], None)
    found = one(Live(Whole(4, 2)), batches)
    assert "to be split by example" in found.untimed
    assert "to be split by example" in found.uncounted
    assert found.cost.parameters == 10


def test_modes_and_random_states_do_not_change():
    model = nn.Sequential(nn.Dropout(), nn.Linear(4, 2)).train()
    state = torch.get_rng_state()
    one(Live(model))
    assert all(part.training for part in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_models_of_a_teachers_own_are_in_eval_mode():
    """A teacher may not see to it by itself; in training mode this one refuses a single input."""

    class Own(tl.teachers.Teacher):
        module = nn.BatchNorm1d(4)

        def signals(self, batch, _):
            return tl.Signals(self.module(batch.inputs))

        def fingerprint(self):
            return "own"

    before = Own.module.running_mean.clone()
    assert one(Own()).untimed == ""
    assert Own.module.training
    assert torch.equal(Own.module.running_mean, before)


class TestVariants:
    @pytest.fixture(autouse=True)
    def _without_what_takes_long(self, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("not here")

        monkeypatch.setattr(torch, "compile", fail)

    def measured(self, model, data=DATA, metric=None):
        def number(form):
            return float(len(predict(form, data)))

        found = measure_variants(model, timing(data), metric or number)
        return {each.name: each for each in found}

    def test_each_is_measured_on_all_of_the_data_or_has_a_reason(self):
        found = self.measured(nn.Linear(4, 2))
        assert found.keys() == {"plain", "compiled", "bf16", "int8", "onnx"}
        assert found["compiled"].reason.startswith("torch.compile failed with RuntimeError")
        for name, each in found.items():
            if name != "compiled":
                assert (each.reason, each.metric) == ("", 40)
                assert [latency.batch_size for latency in each.latencies] == [1, 8]

    def test_a_form_that_fails_on_other_data_says_so(self):
        """Its batches have two lengths, for which an ONNX graph of floats is not made."""

        class Mean(nn.Linear):
            def forward(self, frames):
                return super().forward(frames.mean(dim=1))

        data = [(torch.randn(4, 5 + k, 4), torch.zeros(4).long()) for k in range(2)]
        found = self.measured(Mean(4, 2), DataLoader(data, None))
        assert found["onnx"].reason.startswith("it fails on this data: ")
        assert (found["onnx"].metric, found["onnx"].latencies) == (None, ())
        assert found["bf16"].metric == 8

    def test_a_metric_that_fails_is_the_reason(self):
        def metric(_):
            raise tl.NonFiniteError("it must be finite")

        found = self.measured(nn.Linear(4, 2), metric=metric)
        assert found["plain"].reason == "it fails on this data: it must be finite"

    def test_a_model_that_refuses_its_inputs_has_that_reason(self):
        (found,) = self.measured(nn.Linear(3, 2)).values()
        assert found.name == "plain"
        assert found.reason.startswith("the model (Linear) refused its inputs")
