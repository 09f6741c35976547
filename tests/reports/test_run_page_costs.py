"""What the page of a run says of sizes and times."""

from dataclasses import replace

import pytest
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from run_pages import CLASSES, INPUTS, LABELLED, VALUES, report, rows, verdict
from tutelage.reports.sections.models import cost_sections
from tutelage.training.record import record_of

pytestmark = pytest.mark.usefixtures("charts_undrawn")


def test_a_teacher_that_is_no_module_has_no_size(tmp_path):
    teacher = tl.teachers.Predictor(lambda inputs: inputs[:, 0] * 2)
    values = TensorDataset(INPUTS, VALUES)
    objective = tl.LabelRegression() + tl.OutputRegression()
    run = tl.distill(
        teacher, nn.Linear(4, 1), train=values, val=values, objective=objective, epochs=2
    )
    html = report(tmp_path, run)
    assert "On 40 validation examples the student has a mean squared error of" in verdict(html)
    teacher = rows(html, "Results")["teacher"]
    assert (teacher["Mean squared error"], teacher["R²"]) == ("0", "1.00")
    cost = rows(html, "Cost")["teacher"]
    assert {cost[name] for name in ("Parameters", "File", "FLOPs", "Activations")} == {"–"}
    assert {"–"}.isdisjoint({cost["Batch 1"], cost["Batch 32"]})
    assert "Not measured: size of teacher (not a PyTorch module)." in html


def test_the_size_of_several_teachers_is_that_of_all_together(tmp_path):
    teachers = {"a": nn.Linear(4, 2), "b": [nn.Linear(4, 2), nn.Linear(4, 2, bias=False)]}
    data = tl.data.domains({"a": LABELLED, "b": LABELLED})
    run = tl.distill(
        teachers, nn.Linear(4, 2), train=data, val=data, objective=tl.SoftTargets(), epochs=1
    )
    html = report(tmp_path, run)
    assert rows(html, "Cost")["3 teachers together"]["Parameters"] == str(10 + 10 + 8)
    assert "The 3 teachers together have 2.8× as many parameters" in verdict(html)
    assert "size is their total" in html


def test_a_team_with_a_member_that_is_no_module_has_no_size(tmp_path):
    teacher = [nn.Linear(4, 1), tl.teachers.Predictor(lambda inputs: inputs[:, 0] * 2)]
    values = TensorDataset(INPUTS, VALUES)
    run = tl.distill(
        teacher, nn.Linear(4, 1), train=values, val=values, objective=tl.OutputRegression(),
        epochs=1,
    )  # fmt: skip
    cost = rows(report(tmp_path, run), "Cost")
    assert cost["teacher"]["Parameters"] == "–"


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, first, second):
        return self.linear(first + second)


NAMED = [
    {"first": one, "second": one, "labels": label}
    for one, label in zip(INPUTS, CLASSES, strict=True)
]
PAIRS = tl.data.as_dataset("train", ((INPUTS, INPUTS), CLASSES))


@pytest.mark.parametrize("data", [NAMED, PAIRS], ids=["dict", "tuple"])
def test_models_of_several_inputs_are_timed_and_counted(data, tmp_path):
    html = report(tmp_path, tl.distill(Sum(), Sum(), train=data, val=data,
                                       objective=tl.SoftTargets(), epochs=1))  # fmt: skip
    for cost in rows(html, "Cost").values():
        assert cost.keys() >= {"FLOPs", "Activations", "Batch 1", "Batch 32"}
        assert "–" not in cost.values()
    assert "Not measured" not in html


def test_teachers_of_domains_are_timed_with_the_domains_of_the_data(tmp_path):
    data = tl.data.domains({"a": LABELLED, "b": LABELLED})
    teachers = {"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)}
    run = tl.distill(
        teachers, nn.Linear(4, 2), train=data, val=data, objective=tl.SoftTargets(), epochs=1
    )
    cost = rows(report(tmp_path, run), "Cost")["2 teachers together"]
    assert "–" not in cost.values()


def test_a_store_has_nothing_to_time_and_the_page_says_so(tmp_path):
    store = tl.label(nn.Linear(4, 2), LABELLED, out=tmp_path / "store")
    run = tl.distill(
        store, nn.Linear(4, 2), train=LABELLED, val=LABELLED, objective=tl.SoftTargets(), epochs=1
    )
    html = report(tmp_path, run)
    assert "–" in rows(html, "Cost")["teacher"]["Batch 32"]
    why = "Not measured: time of teacher, size of teacher (its outputs are read from a store)."
    assert why in html


def test_without_validation_data_the_page_says_why_nothing_is_timed(tmp_path):
    html = report(tmp_path, tl.fit(nn.Linear(4, 2), train=LABELLED, epochs=1))
    assert (
        "Not measured: time of student, FLOPs and memory of student (there is no validation data"
    ) in html


def test_a_model_that_refuses_a_single_input_is_not_timed_and_the_page_says_why(tmp_path):
    class AtLeastTwo(nn.Linear):
        def forward(self, inputs):
            if len(inputs) < 2:
                raise ValueError("at least two")
            return super().forward(inputs)

    run = tl.distill(
        AtLeastTwo(4, 2), nn.Linear(4, 2), train=LABELLED, val=LABELLED,
        objective=tl.SoftTargets(), epochs=1,
    )  # fmt: skip
    html = report(tmp_path, run)
    assert "Not measured: time of teacher, FLOPs and memory of teacher (the model (AtLeas" in html
    assert "at least two" in html
    assert rows(html, "Cost")["teacher"]["Parameters"] == "10"
    assert "–" not in rows(html, "Cost")["student"].values()


@pytest.mark.parametrize(("device", "where"), [("cpu", "CPU thread"), ("cuda", "on cuda;")])
def test_the_page_says_where_models_were_timed(device, where):
    record = record_of(tl.fit(nn.Linear(4, 2), train=LABELLED, val=LABELLED, epochs=1))
    models = {key: replace(each, device=device) for key, each in record.models.items()}
    assert where in cost_sections(replace(record, models=models))[0].table.note
