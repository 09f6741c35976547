"""Sentence encoders: `sentence-transformers:FOLDER` or `sentence-transformers:ORG/NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tutelage.errors import ModelError
from tutelage.references.hub_files import HubFiles
from tutelage.references.hugging_face import config_of, pooled
from tutelage.references.pooled import Pooling
from tutelage.references.reference import Reference

_POOLING: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "mean": "mean",
    "pooling_mode_cls_token": "first",
    "cls": "first",
}
_ADVICE = "load it in your own code: file.py:function"


def load_sentence_encoder(reference: Reference, classes: int | None) -> nn.Module:
    """Return a sentence encoder with its tokenizer; its output is the embedding.

    It is made from the transformer and the settings in its folder: mean or first-token pooling, and
    normalisation. With `classes`, it is followed by a linear layer with random weights.

    Raises:
        ArgumentError: There is no such folder.
        ModelError: It cannot be loaded, or has other modules.
    """
    reference.check(options=("max_length", "revision", "trust_remote_code", "untrained"))
    hf = reference.needs("transformers", "hf")
    files = HubFiles(reference, hf)
    modules = files.read("modules.json")
    if not isinstance(modules, list):
        raise ModelError(
            f"`{reference.argument}` must have a modules.json, got none in {reference.text!r}; "
            f"write hf:{reference.name}?pool=mean for an encoder of transformers"
        )
    kinds = [str(each.get("type")).rpartition(".")[2] for each in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(
            f"`{reference.argument}` must consist of a transformer, pooling and normalisation, got "
            f"{', '.join(kinds)} in {reference.text!r}; {_ADVICE}"
        )
    if modules[0].get("path"):
        raise ModelError(
            f"`{reference.argument}` must have its transformer in its own folder, got "
            f"{modules[0]['path']!r} in {reference.text!r}; {_ADVICE}"
        )
    path = str(modules[1].get("path"))
    pool = _pooling(reference, files.read(f"{path}/config.json"))
    return pooled(
        files,
        config_of(files),
        pool,
        classes,
        normalise="Normalize" in kinds,
        length=_limit(files),
    )


def _pooling(reference: Reference, config: Any) -> Pooling:
    """Return how a config says that tokens are pooled."""
    found = config if isinstance(config, Mapping) else {}
    modes = [name for name, on in found.items() if name.startswith("pooling_mode_") and on]
    modes = [found["pooling_mode"]] if isinstance(found.get("pooling_mode"), str) else modes
    if len(modes) != 1 or modes[0] not in _POOLING:
        raise ModelError(
            f"`{reference.argument}` must pool its tokens by their mean or the first of them, got "
            f"{modes} in {reference.text!r}; {_ADVICE}"
        )
    return _POOLING[modes[0]]


def _limit(files: HubFiles) -> int | None:
    """Return the number of tokens at which the encoder cuts texts, if it says so."""
    found = files.read("sentence_bert_config.json")
    limit = found.get("max_seq_length") if isinstance(found, Mapping) else None
    return limit if isinstance(limit, int) and limit > 0 else None
