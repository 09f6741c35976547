"""Runs whose batches have texts of similar length: stores, domains, and a kill in an epoch."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset

import tutelage as tl
from tutelage.training.loop import Loop

ENGINE = tl.Engine(device="cpu", progress=False, checkpoint_seconds=0, group_by_length=True)


class Bag(nn.Module):
    """Classes of texts by the mean of their tokens."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.tokens, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask=None):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.head((self.tokens(input_ids) * mask.unsqueeze(-1)).sum(1) / mask.sum(1, True))


class Texts(Dataset):
    """Texts of several lengths; `dropped` at random tokens."""

    def __init__(self, dropped=0.0):
        self.dropped = dropped
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(4, 20, (60,), generator=generator).tolist()
        self.texts = [torch.randint(1, 50, (each,), generator=generator) for each in lengths]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, place):
        ids = self.texts[place]
        if self.dropped:
            ids = ids[torch.cat([torch.tensor([1.0]), torch.rand(len(ids) - 1)]) >= self.dropped]
        return {"input_ids": ids, "labels": place % 3}


def distill(teacher, train, out=None):
    return tl.distill(
        teacher, Bag(), train=train, objective=0.5 * tl.HardLabels() + tl.SoftTargets(2),
        epochs=2, batch_size=4, optimizer=partial(torch.optim.SGD, lr=0.5), engine=ENGINE, out=out,
    )  # fmt: skip


def equal(one, other):
    torch.testing.assert_close(*(each.student.state_dict() for each in (one, other)))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda texts: texts,
        lambda texts: ConcatDataset([Subset(texts, range(9, 40)), texts]),
        tl.data.Indexed,
        lambda texts: tl.data.domains({"one": texts, "other": Subset(texts, range(7))}),
    ],
    ids=["plain", "joined", "indexed", "domains"],
)
def test_a_store_teaches_as_its_teacher_does(wrap, tmp_path):
    data, teacher = wrap(Texts()), Bag(seed=1)
    store = tl.label(teacher, data, out=tmp_path, dtype="float32", engine=ENGINE)
    equal(distill(store, data), distill(teacher, data))


def test_a_killed_run_on_texts_that_change_at_random_ends_as_one_without(tmp_path, monkeypatch):
    """Whatever the random state was when each call began."""
    teacher, data = Bag(seed=1), Texts(dropped=0.3)
    whole = distill(teacher, data)
    step = Loop._step

    def dying(self, *arguments):
        if self.state.step == 20:
            raise KeyboardInterrupt
        step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", dying)
        torch.manual_seed(1)
        with pytest.raises(KeyboardInterrupt):
            distill(teacher, data, out=tmp_path)
    torch.manual_seed(2)
    equal(distill(teacher, data, out=tmp_path), whole)
