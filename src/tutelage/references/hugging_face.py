"""Models of the library transformers: `hf:FOLDER` or `hf:ORG/NAME`, and sentence encoders."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ArgumentError, DataError, ModelError, NotFoundError, some_of
from tutelage.layers import ByWord, ImageInputs, Prepared, TextInputs
from tutelage.layers.prepared import WORDS, Interpolation
from tutelage.layers.wrapper import Wrapper
from tutelage.references.reference import Reference

Pooling = Literal["mean", "first"]

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_LONGEST = 512
_UNLIMITED = 1_000_000  # tokenizers without a limit have 10^30
_GENERATES = ("ForCausalLM", "LMHeadModel")
_TASKS = {
    "texts": ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    "tokens": ("ForTokenClassification", "AutoModelForTokenClassification"),
    "images": ("ForImageClassification", "AutoModelForImageClassification"),
}
# Of these a word's tokens begin with a space, as those of the texts that they were trained on.
_SPACE_BEFORE_WORDS = ("bart", "bloom", "deberta", "gpt2", "longformer", "roberta")
# Positions begin behind the id of padding, so that fewer tokens fit than there are positions.
_POSITIONS_AFTER_PADDING = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
_OWN_CODE = "load it in your own code: file.py:function"
_POOLING: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "mean": "mean",
    "pooling_mode_cls_token": "first",
    "cls": "first",
}
_INTERPOLATION: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # of PIL
_SHAPES = ((80, 61), (300, 420))
_TOLERANCE = 0.05  # rounding to bytes between the steps


class Hub:
    """A folder, or a repository of a hub, and how the library transformers loads it.

    No code of it is run unless the reference is trusted, and weights are read without pickle.

    Args:
        reference: Its name is a folder, or `NAME` or `ORG/NAME` of a hub.

    Raises:
        ArgumentError: It is neither.
        ModelError: The library transformers is not installed.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.hf = reference.needs("transformers", "hf")
        folder = Path(reference.name).expanduser()
        self.name = str(folder) if folder.is_dir() else reference.name
        if not folder.is_dir() and not _NAME.fullmatch(self.name):
            raise NotFoundError(
                f"`{reference.argument}` must name a folder, or a repository of a hub as ORG/NAME, "
                f"got {reference.text!r} and no such folder; correct the path"
            )
        self.settings: dict[str, Any] = {
            "trust_remote_code": reference.trust is True,
            "local_files_only": folder.is_dir(),
            "revision": reference.options.get("revision", "main"),
        }

    def config(self) -> Any:
        """Return the config of a model.

        Raises:
            NotFoundError: The folder does not exist, and no repository of this name is reached.
        """
        try:
            with self.loading():
                return self.hf.AutoConfig.from_pretrained(self.name, **self.settings)
        except ModelError as error:
            if self.settings["local_files_only"] or not isinstance(error.__cause__, OSError):
                raise
            raise NotFoundError(str(error)) from error.__cause__

    def read(self, name: str) -> Any:
        """Return the content of a JSON file; None if there is none."""
        with self.loading():
            path = self.hf.utils.cached_file(
                self.name,
                name,
                local_files_only=self.settings["local_files_only"],
                revision=self.settings["revision"],
                _raise_exceptions_for_missing_entries=False,
            )
            return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Raise what transformers raises as an error that names the reference; print nothing."""
        logging = self.hf.logging
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        advice = (
            "check its name, the network, and that it is whole; code in its repository runs only "
            "with trust=True, on the command line --trust"
        )
        try:
            with self.reference.loading(advice):
                yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def load_hugging_face(reference: Reference, classes: int | None) -> nn.Module:
    """Return a model of transformers with its tokenizer or image processor.

    The class is that of `architectures` in its config: a classifier of texts, of tokens (one
    output for each word of a text) or of images. A model without such a head gets one for
    `classes`, of the task that `?task=` names; with `?pool=mean` or `?pool=first` it is an encoder
    whose output is an embedding, or, with `classes`, a linear layer over it. A causal language
    model, without `classes`, is that model: it takes tokens, which `text_inputs_of` makes.

    Raises:
        NotFoundError: There is no such folder.
        ModelError: It cannot be loaded, or is of another architecture.
    """
    hub, task, pool = _chosen(reference)
    config = hub.config()
    own = _task_of(config)
    if pool is not None:
        return _pooled(hub, config, pool, classes)
    if task is None and classes is None and _generates(config):
        return _loaded(hub, hub.hf.AutoModelForCausalLM, config)
    task = task or own or _likely(hub.hf, config)
    if task != own:
        way = "?pool=mean for an encoder of embeddings, or name a model that is trained for a task"
        what = f"a {config.model_type} without an output layer for a task of {task}"
        classes = reference.needs_classes(classes, what, f"write {way}")
    fresh = task != own or classes not in (None, config.num_labels)
    if fresh:
        config.num_labels = classes
    model = _loaded(hub, getattr(hub.hf, _TASKS[task][1]), config, fresh)
    names: dict[int, str] = config.id2label or {}
    is_random = fresh or "untrained" in reference.options
    known = None if is_random else tuple(names[at] for at in sorted(names))
    if known == tuple(f"LABEL_{at}" for at in range(len(names))):  # numbers alone
        known = None
    if task == "images":
        return Prepared(model, _image_inputs(hub), known)
    inputs = text_inputs(hub, config, words=task == "tokens")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = inputs.tokenizer.pad_token_id
    model = ByWord(model, WORDS) if task == "tokens" else model
    return Prepared(model, inputs, known)


def load_sentence_encoder(reference: Reference, classes: int | None) -> nn.Module:
    """Return a sentence encoder with its tokenizer; its output is the embedding.

    It is made from the transformer and the settings in its folder: mean or first-token pooling, and
    normalisation. With `classes`, it is followed by a linear layer with random weights.

    Raises:
        NotFoundError: There is no such folder.
        ModelError: It cannot be loaded, or has other modules.
    """
    hub = Hub(reference.with_options(max_length=int, revision=str, untrained=bool))
    config = hub.config()
    modules = hub.read("modules.json") or []
    found = [str(each["type"]).rpartition(".")[2] for each in modules]
    normalise = found[2:] == ["Normalize"]
    if found[:2] == ["Transformer", "Pooling"] and not modules[0].get("path"):
        pooling = hub.read(f"{modules[1]['path']}/config.json") or {}
        modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
        found[1] = ", ".join(modes or [str(pooling.get("pooling_mode"))])
    pool = _POOLING.get(found[1]) if len(found) == 2 + normalise else None
    if pool is None:
        raise ModelError(
            f"`{reference.argument}` must have a modules.json of a transformer, pooling by mean or "
            f"first token, and normalisation, got {found} in {reference.text!r}; write "
            f"hf:{reference.name}?pool=mean for an encoder of transformers, or {_OWN_CODE}"
        )
    length = (hub.read("sentence_bert_config.json") or {}).get("max_seq_length")
    return _pooled(hub, config, pool, classes, normalise, length)


def text_inputs_of(
    argument: str, reference: str, *, trust: bool | Collection[str] = False
) -> TextInputs | None:
    """Return how texts become tokens of a causal language model of `hf:`; None for other models.

    Args:
        argument: Its name, for messages.
        reference: The reference of the model.
        trust: As of `load_model`.

    Raises:
        NotFoundError: There is no such folder.
        ModelError: It cannot be loaded.
    """
    if not reference.startswith("hf:"):
        return None
    hub, task, pool = _chosen(Reference.parse(argument, reference, trust))
    config = hub.config()
    plain = task is None and pool is None
    return text_inputs(hub, config) if plain and _generates(config) else None


def text_inputs(
    hub: Hub, config: Any = None, words: bool = False, length: int | None = None
) -> TextInputs:
    """Return the preprocessing by a model's own tokenizer.

    Texts are cut at the number of tokens that the reference says, or else at `length`, the model's
    own limit, or 512.
    """
    kind = getattr(config, "model_type", "")
    settings = {"add_prefix_space": True} if words and kind in _SPACE_BEFORE_WORDS else {}
    with hub.loading():
        tokenizer = hub.hf.AutoTokenizer.from_pretrained(
            hub.name, use_fast=True, **settings, **hub.settings
        )
    if tokenizer.pad_token is None:  # as of GPT-2
        tokenizer.pad_token = tokenizer.eos_token
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and kind in _POSITIONS_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    limits = (tokenizer.model_max_length, positions)
    known = [each for each in limits if isinstance(each, int) and 0 < each < _UNLIMITED]
    own = length or min(known, default=_LONGEST)
    return TextInputs(tokenizer, hub.reference.options.get("max_length", own), words)


class Pooled(Wrapper):
    """An encoder of transformers whose output is one vector for each text, `[batch, d]`.

    Args:
        model: It takes keywords, with `attention_mask`, and returns `last_hidden_state`.
        pool: `"mean"` over the tokens that are not padding, or the `"first"` token.
        normalise: Whether vectors have length 1.
    """

    def __init__(self, model: nn.Module, pool: Pooling, normalise: bool = False) -> None:
        super().__init__(model)
        self.pool: Pooling = pool
        self.normalise = normalise

    def forward(self, **inputs: Any) -> Tensor:
        """Return the vectors."""
        states: Tensor = self.wrapped(**inputs).last_hidden_state
        found = states[:, 0]
        if self.pool == "mean":
            mask = inputs["attention_mask"][..., None].to(states.dtype)
            found = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return F.normalize(found, dim=1) if self.normalise else found

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"pool={self.pool!r}, normalise={self.normalise}"


class PooledClassifier(nn.Module):
    """A linear layer over the embeddings of an encoder.

    Args:
        encoder: Returns `[batch, width]`.
        width: Of its vectors.
        classes: The number of outputs.
    """

    def __init__(self, encoder: Pooled, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)

    def forward(self, **inputs: Any) -> Tensor:
        """Return logits `[batch, classes]`."""
        return self.head(self.encoder(**inputs))


def _pooled(
    hub: Hub,
    config: Any,
    pool: Pooling,
    classes: int | None,
    normalise: bool = False,
    length: int | None = None,
) -> Prepared:
    """Return an encoder of texts whose output is an embedding, or a linear layer over that."""
    model: nn.Module = Pooled(_loaded(hub, hub.hf.AutoModel, config), pool, normalise)
    if classes is not None:
        model = PooledClassifier(model, config.hidden_size, classes)
    return Prepared(model, text_inputs(hub, config, length=length))


def _chosen(reference: Reference) -> tuple[Hub, str | None, Pooling | None]:
    """Return a reference's folder or repository, and the task and the pooling that it names."""
    reference = reference.with_options(
        max_length=int, pool=("mean", "first"), revision=str, task=tuple(_TASKS), untrained=bool
    )
    task, pool = reference.options.get("task"), reference.options.get("pool")
    if pool is not None and task is not None:
        raise ArgumentError(
            f"`pool` and `task` exclude each other, got both in {reference.text!r}; choose one"
        )
    return Hub(reference), task, pool


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
        f"{config.model_type!r}; {_OWN_CODE}"
    )


def _loaded(hub: Hub, auto: Any, config: Any, fresh: bool = False) -> Any:
    """Return a model, of which a `fresh` head has random weights; refuse files that lack others."""
    with hub.loading():
        if hub.reference.options.get("untrained"):
            trust = hub.settings["trust_remote_code"]
            return auto.from_config(config, trust_remote_code=trust).float()
        model, found = auto.from_pretrained(
            hub.name,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=fresh,
            weights_only=True,
            **hub.settings,
        )
    # In transformers these would have random weights, and only a warning.
    mismatched = {each[0] if isinstance(each, tuple) else each for each in found["mismatched_keys"]}
    body = f"{model.base_model_prefix}."
    unused = model.base_model is model  # an encoder's own pooling layer is not used
    lost = [
        name
        for name in sorted({*found["missing_keys"], *mismatched})
        if not ("pooler." in name and (fresh or unused))
        and not (fresh and not name.startswith(body))
    ]
    if lost:
        raise ModelError(
            f"`{hub.reference.argument}` {hub.reference.text!r} must have all weights of a "
            f"{type(model).__name__}, got none that fit for {some_of(lost, 3)}; save the model "
            "again"
        )
    return model


def _image_inputs(hub: Hub) -> ImageInputs:
    """Return the preprocessing of a model's image processor, compared with it on two images.

    Raises:
        ModelError: The two differ, as where images are padded.
    """
    with hub.loading():
        processor = hub.hf.AutoImageProcessor.from_pretrained(hub.name, **hub.settings)
        inputs = _translated(processor.to_dict())
    for height, width in _SHAPES:
        # Smooth, since interpolation in bytes cuts off what exceeds them at sharp edges.
        rows, columns = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
        image = torch.stack(
            torch.broadcast_tensors(rows[:, None], columns, rows[:, None] * columns)
        )
        pixels = (image * 255).round().byte()
        with hub.loading():
            expected = processor(pixels, return_tensors="pt")["pixel_values"]
        try:
            found = inputs(pixels[None].float() / 255)
        except DataError:  # the image is too small for the crop, and the processor pads it
            found = expected[:0]
        reach = _TOLERANCE * max(1.0, float(expected.abs().amax()))
        if found.shape != expected.shape or bool((found - expected).abs().amax() > reach):
            raise ModelError(
                f"`{hub.reference.argument}` {hub.reference.text!r} must prepare images by "
                f"resizing, cropping and normalising, got {type(processor).__name__} with other "
                "steps; load it in your own code, with tl.layers.Prepared: file.py:function"
            )
    return inputs


def _translated(settings: Mapping[str, Any]) -> ImageInputs:
    """Return the preprocessing that an image processor's settings describe."""
    resize: Any = _size(settings.get("size")) if settings.get("do_resize") else None
    crop = _size(settings.get("crop_size")) if settings.get("do_center_crop") else None
    fraction = settings.get("crop_pct")
    if fraction and isinstance(resize, int):  # ConvNeXT: small images have a margin
        small = resize < 384  # noqa: PLR2004 - its own constant
        crop, resize = (resize, resize), (int(resize / fraction) if small else (resize, resize))
    normalises = settings.get("do_normalize")
    scale = float(settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale") else 1.0
    return ImageInputs(
        resize,
        crop,
        settings["image_mean"] if normalises else 0.0,
        settings["image_std"] if normalises else 1.0,
        _INTERPOLATION.get(int(settings.get("resample") or 0), "bilinear"),
        scale=scale * 255,  # raw images lie in [0, 1]
    )


def _size(value: Any) -> Any:
    """Return a size as `ImageInputs` has it: `(height, width)`, or the shorter edge."""
    if isinstance(value, Mapping) and "shortest_edge" in value and "longest_edge" not in value:
        return int(value["shortest_edge"])
    if isinstance(value, Mapping) and {"height", "width"} <= value.keys():
        return int(value["height"]), int(value["width"])
    return None
