"""A recipe names code of the user; alone it can run no programs and touch no files."""

import pytest

import tutelage as tl

VALUES = {
    "teacher": "job.py:net",
    "student": "job.py:small",
    "data": "job.py:data",
    "objective": {"SoftTargets": 2},
    "training": {"epochs": 1},
}
TOUCH = {"args": ["touch", "harm"]}


@pytest.mark.parametrize(
    "harm",
    [
        {"teacher": "os:abort"},
        {"student": "os:abort"},
        {"teacher": "torch:os.abort"},
        {"teacher": "job.py:os.abort"},
        {"teacher": "os:abort@weights.safetensors"},
        {"data": "os:abort"},
        {"data": {"train": "os:abort"}},
        {"student": {"os:system": {"command": "touch harm"}}},
        {"student": {"subprocess:Popen": TOUCH}},
        {"student": {"torch:hub.os.system": {"command": "touch harm"}}},
        {"objective": {"subprocess:Popen": TOUCH}},
        {"objective": {"SoftTargets": 2, "os:mkdir": {"path": "harm"}}},
        {"objective": {"job.py:make_harm": {"path": "harm"}}},
        {"training": {"epochs": 1, "optimizer": {"subprocess:Popen": TOUCH}}},
        {"training": {"epochs": 1, "scheduler": {"subprocess:Popen": TOUCH}}},
        {"training": {"epochs": 1, "transform": {"subprocess:Popen": TOUCH}}},
        {"training": {"epochs": 1, "transform": "os:mkdir"}},
        {"training": {"epochs": 1, "metrics": {"harm": "os:mkdir"}}},
        {"objective": {"Selective": {"objective": {"SoftTargets": 2}, "by": "os:mkdir"}}},
    ],
)
def test_nothing_of_python_itself_is_called(job, harm):
    (job / "job.py").write_text(
        (job / "job.py").read_text() + "\nimport os\n\ndef make_harm(path):\n    os.mkdir(path)\n"
    )
    with pytest.raises(tl.RecipeError, match=r"must name code of yours|to be given arguments"):
        tl.Recipe(VALUES | harm).run()
    assert not (job / "harm").exists()
