"""No file of weights can run code, or end in anything but an error of ours."""

import json
import os
import pickle
import struct
import zipfile

import joblib
import pytest
import safetensors.torch
import skops.io
import timm
import torch
from sklearn.linear_model import LogisticRegression

from tutelage.errors import ModelError, TutelageError
from tutelage.references import load_model

ARCHITECTURE = "timm:test_resnet"
ENDINGS = ["pt", "pth", "bin", "ckpt"]


@pytest.fixture
def evil(tmp_path):
    """An object whose pickle makes a file, `ran`, when it is loaded."""

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    yield Evil()
    assert not (tmp_path / "ran").exists()


def test_the_payload_would_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "ran").exists()


def repacked(source, target, changes):
    """Write an archive again with other contents, by the end of their names."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = next((c for end, c in changes.items() if name.endswith(end)), None)
            new.writestr(name, old.read(name) if content is None else content)


class TestPickles:
    @pytest.mark.parametrize("ending", ["pkl", "pickle", "joblib", "dill", *ENDINGS])
    def test_whole_models_are_refused_before_they_are_read(self, ending, evil, tmp_path):
        path = tmp_path / f"model.{ending}"
        path.write_bytes(pickle.dumps(evil))
        with pytest.raises(
            ModelError, match=r"(cannot run code|architecture of the weights), .* pickle"
        ):
            load_model("teacher", str(path))

    @pytest.mark.parametrize("ending", ENDINGS)
    @pytest.mark.parametrize("wrap", [lambda each: each, lambda each: {"state_dict": each}])
    def test_weights_with_objects_are_refused(self, ending, wrap, evil, tmp_path):
        path = tmp_path / f"weights.{ending}"
        state = {"conv1.weight": torch.zeros(2), "fc.bias": evil}
        for legacy in (False, True):
            torch.save(wrap(state), path, _use_new_zipfile_serialization=not legacy)
            with pytest.raises(ModelError, match=r"weights alone, and whole, got .*save_file"):
                load_model("teacher", f"{ARCHITECTURE}@{path}")

    @pytest.mark.parametrize("ending", ["pt", "safetensors"])
    def test_plain_pickles_as_weights_are_refused(self, ending, evil, tmp_path):
        path = tmp_path / f"weights.{ending}"
        for write in (pickle.dump, joblib.dump):
            with path.open("wb") as file:
                write(evil, file)
            with pytest.raises(ModelError):
                load_model("teacher", f"{ARCHITECTURE}@{path}")

    def test_a_whole_module_as_weights_is_refused(self, tmp_path):
        torch.save(timm.create_model("test_resnet"), tmp_path / "model.pt")
        with pytest.raises(ModelError, match="weights alone, and whole, got UnpicklingError"):
            load_model("teacher", f"{ARCHITECTURE}@{tmp_path / 'model.pt'}")

    def test_a_pickle_within_a_file_of_skops_is_not_read(self, evil, tmp_path):
        path = tmp_path / "m.skops"
        skops.io.dump(LogisticRegression(), tmp_path / "whole.skops")
        repacked(tmp_path / "whole.skops", path, {"schema.json": pickle.dumps(evil)})
        with pytest.raises(ModelError, match="could not be loaded"):
            load_model("teacher", str(path))
        schema = {"__module__": "os", "__class__": "system", "__loader__": "FunctionNode",
                  "__id__": 1, "content": "touch ran", "protocol": 0}  # fmt: skip
        repacked(tmp_path / "whole.skops", path, {"schema.json": json.dumps(schema)})
        with pytest.raises(ModelError, match=r"could run code .*os\.system|could not be loaded"):
            load_model("teacher", str(path))


class TestDamage:
    def test_a_storage_that_claims_a_size_is_refused(self, tmp_path):
        torch.save({"w": torch.zeros(4)}, tmp_path / "w.pt")
        with zipfile.ZipFile(tmp_path / "w.pt") as archive:
            content = archive.read("w/data.pkl")
        claimed = content.replace(b"K\x04tq", b"J" + struct.pack("<i", 10**9) + b"tq", 1)
        assert claimed != content
        repacked(tmp_path / "w.pt", tmp_path / "lie.pt", {"data.pkl": claimed})
        with pytest.raises(ModelError, match="weights alone, and whole"):
            load_model("teacher", f"{ARCHITECTURE}@{tmp_path / 'lie.pt'}")

    def test_safetensors_that_claim_a_size_are_refused(self, tmp_path):
        path = tmp_path / "w.safetensors"
        entry = {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}
        header = json.dumps({"fc.weight": entry}).encode()
        for length in (len(header), 10**15):
            path.write_bytes(struct.pack("<Q", length) + header + bytes(16))
            with pytest.raises(ModelError, match="weights alone, and whole"):
                load_model("teacher", f"{ARCHITECTURE}@{path}")

    @pytest.mark.parametrize("ending", ["safetensors", "pth"])
    def test_truncated_weights_are_refused(self, ending, tmp_path):
        state, path = timm.create_model("test_resnet").state_dict(), tmp_path / f"w.{ending}"
        if ending == "pth":
            torch.save(state, path)
        else:
            safetensors.torch.save_file(state, path)
        whole = path.read_bytes()
        for size in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises(TutelageError):
                load_model("teacher", f"{ARCHITECTURE}@{path}")
