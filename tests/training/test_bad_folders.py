"""Folders that are not those of this very run."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from small_runs import INPUTS, LABELS, distill


class TestFolder:
    def test_a_different_run_is_refused_and_left_as_it_was(self, tmp_path):
        distill(out=tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(tl.RunFolderError, match=r"(?s)differs in.*epochs: 2 → 3"):
            distill(out=tmp_path, epochs=3)
        assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def test_another_teacher_is_a_different_run(self, tmp_path):
        distill(out=tmp_path)
        with pytest.raises(tl.RunFolderError, match="teacher: "):
            distill(out=tmp_path, teacher=nn.Linear(6, 3))

    def test_files_of_somebody_else_are_not_overwritten(self, tmp_path):
        (tmp_path / "student.safetensors").write_text("mine")
        for changes in ({}, {"fresh": True}):
            with pytest.raises(tl.RunFolderError, match=r"with 'student\.safetensors' and without"):
                distill(out=tmp_path, **changes)
        assert (tmp_path / "student.safetensors").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_with_other_files_is_not_written_into(self, tmp_path, monkeypatch):
        (tmp_path / "recipe.yaml").write_text("mine")
        (tmp_path / "data.csv").write_text("mine")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(tl.RunFolderError, match="a folder of its own"):
            distill(out=".")
        assert {each.read_text() for each in tmp_path.iterdir()} == {"mine"}

    def test_a_moved_run_is_the_same_run(self, tmp_path):
        teacher = nn.Linear(6, 3)
        first = distill(out=tmp_path / "here", teacher=teacher)
        (tmp_path / "here").rename(tmp_path / "there")
        assert distill(out=tmp_path / "there", teacher=teacher).history == first.history

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(tl.RunFolderError, match="a folder that can be written"):
            distill(out=tmp_path / "file" / "run")

    def test_a_run_that_another_process_is_writing(self, tmp_path):
        teacher = nn.Linear(6, 3)
        distill(out=tmp_path, teacher=teacher)
        hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)"
        command = [sys.executable, "-c", f"{hold}; print('held', flush=True); input()"]
        with subprocess.Popen(
            [*command, tmp_path / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            other.stdout.readline()
            with pytest.raises(tl.RunFolderError, match="another process"):
                distill(out=tmp_path, teacher=teacher)
            other.communicate(b"\n")
        distill(out=tmp_path, teacher=teacher)

    def test_a_broken_checkpoint_is_named(self, tmp_path):
        torch.manual_seed(0)
        teacher = nn.Linear(6, 3)
        distill(out=tmp_path, teacher=teacher)
        (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
        with pytest.raises(tl.RunFolderError, match=r"last\.pt must be a checkpoint"):
            distill(out=tmp_path, teacher=teacher)

    def test_other_data_is_a_different_run(self, tmp_path):
        teacher = nn.Linear(6, 3)
        distill(out=tmp_path, teacher=teacher)
        with pytest.raises(tl.RunFolderError, match=r"train\.content: "):
            distill(out=tmp_path, teacher=teacher, train=TensorDataset(INPUTS + 1, LABELS))

    def test_a_damaged_description(self, tmp_path):
        distill(out=tmp_path)
        (tmp_path / "run.json").write_text("{")
        with pytest.raises(tl.RunFolderError, match="damaged"):
            distill(out=tmp_path)

    def test_a_best_student_that_is_gone(self, tmp_path):
        teacher = nn.Linear(6, 3)
        shared = {"teacher": teacher, "val": TensorDataset(INPUTS, LABELS), "out": tmp_path}
        run = distill(**shared)
        (tmp_path / f"best-{run.best_epoch}.safetensors").unlink()
        with pytest.raises(tl.RunFolderError, match="student of the best epoch"):
            distill(**shared)
