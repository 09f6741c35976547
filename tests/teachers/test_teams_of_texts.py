"""Several language models, by domain or together: chunks of logits, and masks of tokens."""

import pytest
import torch
from torch import nn

import tutelage as tl
from language_models import VOCABULARY, make
from tutelage.signals import Batch, Signals
from tutelage.teachers import Ensemble, Specialists, Teacher
from tutelage.wants import Fields

DOMAINS = ["b", "a", "a", "b"]


def test_specialists_of_a_large_vocabulary_teach_as_with_whole_logits():
    """A batch of several domains cannot have one output layer."""
    ids = torch.randint(VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(0))
    models = {name: make("Llama", seed=seed) for seed, name in enumerate("ab")}
    student = make("Llama", seed=2)
    for domains in (DOMAINS, ["a"] * 4):
        batch = Batch({"input_ids": ids}, domain=domains)
        losses = [
            tl.Distiller(student, Specialists(models), tl.SoftTargets(2), chunk_logits_from=least)
            for least in (2, None)
        ]
        chunked, whole = (each(batch).total for each in losses)
        torch.testing.assert_close(chunked, whole)


class OfTexts(Teacher):
    """Makes tokens of texts itself, as a `Prepared` model does."""

    def signals(self, batch, fields):
        lengths = torch.tensor([len(each) for each in batch.inputs])
        mask = torch.arange(5) < lengths[:, None]
        features = {each: mask[..., None].float() for each in fields.features}
        return Signals(None, features, tokens=mask if features else None)

    def fingerprint(self):
        return "of texts"


@pytest.mark.parametrize(
    ("teacher", "path"),
    [
        (Specialists({"a": OfTexts(), "b": OfTexts()}), "layer"),
        (Ensemble({"a": nn.Identity(), "b": OfTexts()}), "b/layer"),
        (Ensemble({"a": OfTexts(), "b": OfTexts()}), "b/layer"),
    ],
    ids=["specialists", "one of an ensemble", "an ensemble"],
)
def test_the_mask_of_tokens_passes_through(teacher, path):
    """Else a loss on layers would compare padding too."""
    batch = Batch(["ab", "a", "abcd", "abc"], domain=DOMAINS)
    found = teacher.signals(batch, Fields(features=frozenset({path})))
    assert found.tokens.sum(dim=1).tolist() == [2, 1, 4, 3]
    assert torch.equal(found.tokens, found.features[path][..., 0] > 0)
