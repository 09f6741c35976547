"""Models of the library transformers: `hf:FOLDER` or `hf:ORG/NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from tutelage.errors import ArgumentError, ModelError, some_of
from tutelage.layers import ByWord, Prepared, TextInputs
from tutelage.layers.text_inputs import WORDS
from tutelage.references.hub_files import HubFiles
from tutelage.references.hub_images import image_inputs
from tutelage.references.pooled import Pooled, PooledClassifier, Pooling
from tutelage.references.reference import Reference

OPTIONS = ("max_length", "pool", "revision", "task", "trust_remote_code", "untrained")
_LONGEST = 512
_UNLIMITED = 1_000_000  # tokenizers without a limit have 10^30
_GENERATES = ("ForCausalLM", "LMHeadModel")
_TASKS = {
    "texts": ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    "tokens": ("ForTokenClassification", "AutoModelForTokenClassification"),
    "images": ("ForImageClassification", "AutoModelForImageClassification"),
}


def load_hugging_face(reference: Reference, classes: int | None) -> nn.Module:
    """Return a model of transformers with its tokenizer or image processor.

    The class is that of `architectures` in its config: a classifier of texts, of tokens (one
    output for each word of a text) or of images. A model without such a head gets one for
    `classes`, of the task that `?task=` names; with `?pool=mean` or `?pool=first` it is an encoder
    whose output is an embedding, or, with `classes`, a linear layer over it. A causal language
    model, without `classes`, is that model: it takes tokens, which `load_text_inputs` makes.

    Raises:
        ArgumentError: There is no such folder.
        ModelError: It cannot be loaded, or is of another architecture.
    """
    reference.check(options=OPTIONS)
    task = reference.one_of("task", tuple(_TASKS))
    pool = cast("Pooling | None", reference.one_of("pool", ("mean", "first")))
    hf = reference.needs("transformers", "hf")
    files = HubFiles(reference, hf)
    config = config_of(files)
    own = _task_of(config)
    if pool is not None:
        if task is not None:
            raise ArgumentError(
                f"`pool` and `task` exclude each other, got both in {reference.text!r}; choose one"
            )
        return pooled(files, config, pool, classes)
    if task is None and classes is None and _generates(config):
        return _loaded(files, hf.AutoModelForCausalLM, config)[0]
    task = task or own or _likely(hf, config)
    if task != own:
        way = "?pool=mean for an encoder of embeddings, or name a model that is trained for a task"
        what = f"a {config.model_type} without an output layer for a task of {task}"
        classes = reference.needs_classes(classes, what, f"write {way}")
    fresh = task != own or classes not in (None, config.num_labels)
    if fresh:
        config.num_labels = classes
    model, untrained = _loaded(files, getattr(hf, _TASKS[task][1]), config, fresh)
    names = None if untrained else _names(config)
    if task == "images":
        return Prepared(model, image_inputs(files), names, untrained)
    length = reference.number("max_length")
    inputs = text_inputs(files, config, length, words=task == "tokens")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = inputs.tokenizer.pad_token_id
    model = ByWord(model, WORDS) if task == "tokens" else model
    return Prepared(model, inputs, names, untrained)


def load_text_inputs(reference: Reference) -> TextInputs | None:
    """Return how texts become the tokens of a causal language model; None for other models."""
    reference.check(options=OPTIONS)
    files = HubFiles(reference, reference.needs("transformers", "hf"))
    config = config_of(files)
    plain = reference.one_of("task", tuple(_TASKS)) is None and "pool" not in reference.options
    if not plain or not _generates(config):
        return None
    return text_inputs(files, config, reference.number("max_length"))


def pooled(
    files: HubFiles,
    config: Any,
    pool: Pooling,
    classes: int | None,
    *,
    normalise: bool = False,
    length: int | None = None,
) -> Prepared:
    """Return an encoder of texts whose output is an embedding, or a linear layer over that.

    `length` is the number of tokens at which texts are cut unless the reference says it.
    """
    model, untrained = _loaded(files, files.hf.AutoModel, config)
    model = Pooled(model, pool, normalise)
    inputs = text_inputs(files, config, files.reference.number("max_length") or length)
    if classes is not None:
        model = PooledClassifier(model, config.hidden_size, classes)
        untrained = untrained or "head"
    return Prepared(model, inputs, untrained=untrained)


def text_inputs(
    files: HubFiles, config: Any, length: int | None, words: bool = False
) -> TextInputs:
    """Return the preprocessing by a model's own tokenizer, which cuts texts at `length` tokens.

    If that is None, it is the model's own limit, or 512 where there is none.
    """
    settings = {"add_prefix_space": True} if words and config.model_type == "roberta" else {}
    with files.reported():
        tokenizer = files.hf.AutoTokenizer.from_pretrained(
            files.name, use_fast=True, **settings, **files.settings
        )
    if tokenizer.pad_token is None:  # as of GPT-2
        tokenizer.pad_token = tokenizer.eos_token
    limits = (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    known = [each for each in limits if isinstance(each, int) and 0 < each < _UNLIMITED]
    most = min(known, default=None)
    if length is not None and most is not None and length > most:
        raise ArgumentError(
            f"`max_length` must be no more than the model's {most} tokens, got {length}; lower it"
        )
    return TextInputs(tokenizer, length or most or _LONGEST, words)


def config_of(files: HubFiles) -> Any:
    """Return the config of a model."""
    with files.reported():
        return files.hf.AutoConfig.from_pretrained(files.name, **files.settings)


def _generates(config: Any) -> bool:
    """Tell whether a config is of a causal language model."""
    return any(each.endswith(_GENERATES) for each in config.architectures or ())


def _task_of(config: Any) -> str | None:
    """Return the task of a model's head; None for an encoder, or another head."""
    for architecture in config.architectures or ():
        for task, (ending, _) in _TASKS.items():
            if architecture.endswith(ending):
                return task
    return None


def _likely(hf: Any, config: Any) -> str:
    """Return the task for which a model without a head is meant."""
    mapping = hf.models.auto.modeling_auto
    if config.model_type in mapping.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        return "texts"
    if config.model_type in mapping.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "images"
    raise ModelError(
        f"a model of transformers must be one for texts or images that can classify, got "
        f"{config.model_type!r}; load it in your own code: file.py:function"
    )


def _loaded(files: HubFiles, auto: Any, config: Any, fresh: bool = False) -> tuple[Any, str | None]:
    """Return a model, and its part that has random weights; refuse files that lack others."""
    if files.reference.flag("untrained"):
        with files.reported():
            return auto.from_config(config, trust_remote_code=files.trusts).float(), "model"
    with files.reported():
        model, found = auto.from_pretrained(
            files.name,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=fresh,
            weights_only=True,
            **files.settings,
        )
    # In transformers these would have random weights, and only a warning.
    mismatched = {each[0] if isinstance(each, tuple) else each for each in found["mismatched_keys"]}
    lacking = sorted({*found["missing_keys"], *mismatched})
    body = f"{model.base_model_prefix}."
    unused = model.base_model is model  # an encoder's own pooling layer is not used
    lost = [
        name
        for name in lacking
        if not ("pooler." in name and (fresh or unused))
        and not (fresh and not name.startswith(body))
    ]
    if lost:
        raise ModelError(
            f"`{files.reference.argument}` {files.reference.text!r} must have all weights of a "
            f"{type(model).__name__}, got none that fit for {some_of(lost, 3)}; save the model "
            "again"
        )
    return model, "head" if fresh else None


def _names(config: Any) -> tuple[str, ...] | None:
    """Return the names of the classes; None where the config has only numbers for them."""
    names: Mapping[int, str] = config.id2label or {}
    if sorted(names) != list(range(config.num_labels)):
        return None
    if all(name == f"LABEL_{place}" for place, name in names.items()):
        return None
    return tuple(names[place] for place in range(config.num_labels))
