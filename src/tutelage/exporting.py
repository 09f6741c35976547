"""`export`: a trained model as one file that runs without PyTorch, compared with the model."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tutelage._checks import integer
from tutelage.data import as_source, randomness
from tutelage.datasets import TableInputs
from tutelage.distiller import check_learner
from tutelage.errors import ArgumentError, ModelError, RunFolderError
from tutelage.evaluation import latencies, measure_cost
from tutelage.evaluation.onnx_file import OnnxSession, quantize, write_onnx
from tutelage.evaluation.variants import OutputOnly, check_close, reason_of, silenced
from tutelage.files import write_whole
from tutelage.layers import Prepared, observe
from tutelage.layers.language import generates
from tutelage.layers.observe import arguments
from tutelage.layers.prepared import Prepare
from tutelage.nested import on_tensors, to_device
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

ABOUT = "student.json"
"""The key of metadata under which a recipe's student says what it takes and gives."""

Precision = Literal["float32", "int8"]
PRECISIONS: dict[Precision, float] = {"float32": 1e-3, "int8": 1.0}
"""The largest difference from the model's outputs, relative to the largest of them, by precision.

What 8 bits lose is to be measured on data."""

_BATCH = 32


@dataclass(frozen=True)
class Exported:
    """A model that was written to a file.

    Args:
        path: The file.
        file_bytes: Its size.
        inputs: By name, type and shape, such as `{"input": "tensor(float) [batch, 64]"}`.
        outputs: Likewise.
        examples: On how many examples the file was compared with the model.
        difference: Largest difference of their outputs.
        largest: Largest output of the model, infinite ones left out.
        seconds: Median time for one example, of `"PyTorch"` and `"ONNX Runtime"`.
        threads: CPU threads in these measurements.
    """

    path: Path
    file_bytes: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    examples: int
    difference: float
    largest: float
    seconds: dict[str, float]
    threads: int

    def __str__(self) -> str:
        """What is in the file, how exact it is, and how fast."""
        times = ", ".join(f"{name} {1000 * each:.3g} ms" for name, each in self.seconds.items())
        lines = [f"{self.path}: {self.file_bytes / 1e6:.3g} MB"]
        lines += [f"input {name}: {each}" for name, each in self.inputs.items()]
        lines += [f"output {name}: {each}" for name, each in self.outputs.items()]
        lines.append(
            f"on {self.examples} examples: largest difference from the model "
            f"{self.difference:.2g}, of outputs up to {self.largest:.3g}"
        )
        threads = "one CPU thread" if self.threads == 1 else f"{self.threads} CPU threads"
        lines.append(f"one example on {threads}: {times}")
        return "\n".join(lines)


def export(
    model: nn.Module,
    data: object,
    path: str | Path,
    *,
    precision: Precision = "float32",
    examples: int = 256,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write a trained model to an ONNX file, which runs without PyTorch and without this library.

    The file takes batches of any size, and texts of any length as tokens. Before it replaces a file
    at `path`, ONNX Runtime computes its outputs for examples of the data, in batches and for one
    alone; a file whose outputs are farther from the model's than 0.001 of the largest is refused.
    In int8 outputs differ by more, and a little by batch, whose largest activation sets the scale;
    how much that costs is measured on data (`tl.Arm(of=...)`).

    Preprocessing that consists of operations of PyTorch (`TableInputs`, `ImageInputs`) is part of
    the file; the tokenizer of `TextInputs` is not, so that the file takes its tokens.

    Args:
        model: In float32; it is not changed.
        data: Examples as for `distill`, such as the test data; labels are not used.
        path: The file, ending in `.onnx`.
        precision: `"float32"`, or `"int8"`: weights and products in 8 bits; the file
            has about a quarter of the size. Ranges of the activations of convolutional networks
            are found on the `examples`, others as they come.
        examples: On how many of the first ones outputs are compared.
        metadata: Texts that the file carries, such as the names of the classes; ONNX Runtime
            returns them as `session.get_modelmeta().custom_metadata_map`.

    Returns:
        What was written, how far its outputs are from the model's, and the time of both.

    Raises:
        ArgumentError: `path` does not end in `.onnx`, or the precision is not known.
        ModelError: The model cannot be exported, with the exporter's reason; the extra
            `tutelage[onnx]` is not installed; outputs differ, or none is finite.
        RunFolderError: The file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix != ".onnx":
        raise ArgumentError(f"`path` must end in .onnx, got {path}; add the ending")
    integer("examples", examples, 1, "outputs are compared on that many")
    check_precision(precision)
    with randomness.preserved(), torch.no_grad():
        own, batches, alone = as_exported(model, data, examples)
        [draft] = drafts(own, batches, [precision], metadata)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, draft.content)
        except OSError as error:
            raise RunFolderError(
                f"the model must go to {path}, got {error}; make room, or choose another path"
            ) from error
        models = {"PyTorch": own, "ONNX Runtime": draft.session}
        times = {name: each[0] for name, each in latencies(models, alone, (1,)).items()}
    inputs, outputs = draft.session.described()
    return Exported(
        path=path,
        file_bytes=len(draft.content),
        inputs=inputs,
        outputs=outputs,
        examples=sum(map(len, batches)),
        difference=draft.difference,
        largest=draft.largest,
        seconds={name: each.median for name, each in times.items()},
        threads=times["PyTorch"].threads,
    )


def check_precision(given: object) -> None:
    """Refuse a precision that is not known."""
    if given not in PRECISIONS:
        raise ArgumentError(f"`precision` must be one of {[*PRECISIONS]}, got {given!r}")


class OnnxModel(nn.Module):
    """A model that ONNX Runtime computes from its file, on the CPU, with the inputs of the model.

    Args:
        model: What was exported.
        content: The file.
    """

    def __init__(self, model: nn.Module, content: bytes) -> None:
        super().__init__()
        self.session = OnnxSession(content)
        self.cost = replace(measure_cost(model), file_bytes=len(content))
        _, self.prepare = _parts(model)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the output."""
        if self.prepare is not None:
            args, kwargs = arguments(self.prepare(kwargs or (args[0] if len(args) == 1 else args)))
        return self.session(*args, **kwargs)


def _parts(model: nn.Module) -> tuple[nn.Module, Prepare | None]:
    """Return what of a model is in its file, and what makes the file's inputs of the model's."""
    if not isinstance(model, Prepared):
        return model, None
    prepare = model.prepare
    if isinstance(prepare, TableInputs):  # columns behind its own are not its inputs
        return model, lambda raw: raw[:, : len(prepare.columns)]
    return (model, None) if isinstance(prepare, nn.Module) else (model.wrapped, prepare)


def as_exported(
    model: nn.Module, data: object, examples: int
) -> tuple[nn.Module, list[Batch], Batch]:
    """Return what a file holds of a model, batches of the inputs that it takes, and one example.

    That one has no padding of a batch; of texts it is one of median length.

    Raises:
        ModelError: The model generates text, or does not return an output.
    """
    check_learner("model", model)
    if any(map(generates, model.modules())):
        raise ModelError(
            f"a model that generates text is not exported to ONNX, got {type(model).__name__}; "
            "write it with save_pretrained (of a recipe it is in the folder `student` of the run), "
            "which vLLM, llama.cpp and transformers read"
        )
    own, prepare = _parts(copy.deepcopy(model).cpu().eval())

    def prepared(raw: Batch) -> Batch:
        return raw if prepare is None else Batch(prepare(raw.inputs))

    raw = list[Batch]()
    for batch in as_source("data", data, _BATCH).epoch(0):
        raw.append(Batch(to_device(batch[:examples].inputs, torch.device("cpu"))))
        examples -= len(raw[-1])
        if examples <= 0:
            break
    batches = [*map(prepared, raw)]
    observe(own, batches[0].inputs, OUTPUT, "model")  # so that its own errors come as they are
    return OutputOnly(own), batches, prepared(typical(raw[0]))


def typical(batch: Batch) -> Batch:
    """Return one example of a batch as a batch: the first, but of texts one of median length."""
    at, texts = 0, batch.inputs
    if isinstance(texts, list) and all(isinstance(each, str) for each in texts):
        at = sorted(range(len(texts)), key=lambda each: len(texts[each]))[len(texts) // 2]
    return batch[at : at + 1]


@dataclass(frozen=True)
class Draft:
    """A file of a model, not written yet, and how far its outputs are from the model's.

    Args:
        precision: In which it computes.
        content: The file.
        session: It computes the file.
        difference: As of `Exported`.
        largest: As of `Exported`.
    """

    precision: Precision
    content: bytes
    session: OnnxSession
    difference: float
    largest: float


def drafts(
    model: nn.Module,
    batches: list[Batch],
    precisions: Sequence[Precision],
    metadata: Mapping[str, str] | None = None,
) -> Iterator[Draft]:
    """Yield the file of each precision, those of float32 first; the model is exported once.

    Args:
        model: What the file holds, from `as_exported`.
        batches: Inputs of the file, likewise.
        precisions: As of `export`.
        metadata: As of `export`.

    Raises:
        ModelError: As `export`.
    """
    first = batches[0]
    # Given a batch of one, the exporter fixes the batch size at 1.
    several = first if len(first) > 1 else first[torch.tensor([0, 0])]
    try:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            with silenced():
                write_onnx(model, several.inputs, file, metadata)
            chosen: list[Precision] = [each for each in PRECISIONS if each in precisions]
            for precision in chosen:
                if precision == "int8":
                    with silenced():
                        quantize(file, [each.inputs for each in batches])
                yield _compared(file.read_bytes(), model, batches, precision)
    except Exception as error:  # exporters and runtimes raise errors of any kind
        raise ModelError(f"the model cannot be exported: {reason_of(error)}") from error


def _compared(
    content: bytes, model: nn.Module, batches: list[Batch], precision: Precision
) -> Draft:
    """Compare the outputs of a file with the model's."""
    session, (difference, largest, compared) = OnnxSession(content), (0.0, 0.0, 0)
    tolerance = PRECISIONS[precision]
    shorter = _shorter(model, batches[0], session.described()[0])
    for batch in (*batches, batches[0][:1], *shorter):
        expected = observe(model, batch.inputs, OUTPUT, "model").logits
        output = observe(session, batch.inputs, OUTPUT, "file").logits
        difference = max(difference, check_close(output, expected, len(batch), tolerance))
        finite = expected[expected.isfinite()]
        compared += len(finite)
        largest = max(largest, finite.abs().amax().item() if len(finite) else 0.0)
    if not compared:
        raise ModelError(
            f"the model must return a finite number for some of {sum(map(len, batches))} examples, "
            "got none, so that nothing could be compared; look at its weights and at the data"
        )
    return Draft(precision, content, session, difference, largest)


def _shorter(model: nn.Module, batch: Batch, inputs: Mapping[str, str]) -> list[Batch]:
    """Return examples cut in half, where the file says that it takes any length."""
    if not any("length" in each for each in inputs.values()):
        return []

    def half(tensor: Tensor) -> Tensor:
        may_vary = tensor.ndim > 1 and not tensor.is_floating_point()
        return tensor[:, : max(1, tensor.shape[1] // 2)] if may_vary else tensor

    cut = Batch(on_tensors(batch.inputs, half))
    try:
        observe(model, cut.inputs, OUTPUT, "model")
    except ModelError:  # integers that are no texts
        return []
    return [cut]
