"""A model as a file of ONNX, and such a file as a model."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from tutelage._checks import installed
from tutelage.errors import ModelError
from tutelage.layers.observe import arguments
from tutelage.nested import batch_size, describe, named_tensors, on_tensors

_MOST_BYTES = 2 * 1024**3
"""Of a file of ONNX with its weights, by its format."""


def write_onnx(
    model: nn.Module, inputs: Any, path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Export a model of one output, for any batch size, weights included.

    Inputs have the names under which the model takes them: `input`, several by position `input_0`,
    `input_1` and so on, of a dict its keys. The dimension of examples is called `batch`, others
    that may vary, as that of tokens, `length`, `length_2` and so on. The output is `output`.

    Args:
        model: In eval mode, on the CPU; returns a tensor.
        inputs: A batch of two or more; numbers and other parts that are no tensors are fixed.
        path: The file.
        metadata: What else the file says of itself.

    Raises:
        ModelError: A package is missing, the inputs have no tensor, or the file would be too large.
    """
    _onnxruntime()
    size, given = batch_size(inputs), dict(_named(*arguments(inputs)))
    if not given:
        raise ModelError(f"ONNX models take tensors, got {describe(inputs)}; export its layers")
    held = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    if held >= _MOST_BYTES:
        raise ModelError(
            f"a model in one file of ONNX must be smaller than 2 GiB, got {held:,} bytes; export a "
            "smaller one, or convert it to fewer bits"
        )
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        program: Any = torch.onnx.export(
            _OfTensors(model, arguments(inputs)),
            tuple(given.values()),
            dynamo=True,
            input_names=list(given),
            output_names=["output"],
            dynamic_shapes=(tuple(_dynamic(each, size) for each in given.values()),),
            verbose=False,
        )
    finally:
        logger.setLevel(level)
    _name_dimensions(program.model.graph)
    program.model.metadata_props.update(metadata or {})
    program.save(str(path), external_data=False)


def quantize(file: Path, batches: Sequence[Any]) -> None:
    """Write weights and products of a file of `write_onnx` in 8 bits, in its place.

    Weights have a scale for each channel. Activations are quantized as they come (dynamically), or,
    where most weights are those of convolutions, by ranges found on the batches (statically), since
    ONNX Runtime has fast convolutions for these only. Weights take 7 of the 8 bits: on CPUs without
    VNNI sums of full ones overflow in silence, and the file is to be as good on any machine.

    Args:
        file: It is replaced.
        batches: Inputs of the model, for the ranges.
    """
    from onnxruntime import quantization  # noqa: PLC0415 - slow to import, an extra
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    common = {
        "per_channel": True,
        "reduce_range": True,
        "weight_type": quantization.QuantType.QInt8,
    }
    onnx = import_module("onnx")
    before = onnx.load(file)
    with TemporaryDirectory() as folder:
        simpler = Path(folder) / "model.onnx"
        quant_pre_process(file, simpler, skip_symbolic_shape=True)
        if _is_convolutional(before.graph):
            taken = {each.name for each in before.graph.input}
            named = [dict(_named(*arguments(each))) for each in batches]
            ranges: Any = _Inputs([{n: each[n] for n in each if n in taken} for each in named])
            activations = {"activation_type": quantization.QuantType.QUInt8}
            quantization.quantize_static(simpler, file, ranges, **activations, **common)
        else:
            kinds = {"op_types_to_quantize": ["MatMul", "Gemm", "Gather"]}
            quantization.quantize_dynamic(simpler, file, **kinds, **common)
    after = onnx.load(file)
    onnx.helper.set_model_props(after, {e.key: e.value for e in before.metadata_props})
    onnx.save(after, file)


def _is_convolutional(graph: Any) -> bool:
    """Tell whether most weights are those of convolutions."""
    sizes = {each.name: math.prod(each.dims) for each in graph.initializer}
    theirs = {name for node in graph.node if node.op_type == "Conv" for name in node.input}
    return 2 * sum(sizes[name] for name in theirs & sizes.keys()) > sum(sizes.values())


class _Inputs:
    """Inputs of a model one after another, as ONNX Runtime reads them."""

    def __init__(self, batches: Sequence[Mapping[str, Tensor]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next inputs; None after the last."""
        found = next(self._left, None)
        return None if found is None else {name: each.numpy() for name, each in found.items()}


class OnnxSession(nn.Module):
    """A file that `write_onnx` wrote, called as its model is; it runs on PyTorch's threads.

    Args:
        content: The file.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__()
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session: Any = runtime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._names = {each.name for each in self.session.get_inputs()}

    def described(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the type and shape of each input and of each output."""
        sides = (self.session.get_inputs(), self.session.get_outputs())
        inputs, outputs = (
            {each.name: f"{each.type} [{', '.join(map(str, each.shape))}]" for each in side}
            for side in sides
        )
        return inputs, outputs

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the output."""
        given = dict(_named(args, kwargs))
        # An input that the model does not use is not in the graph.
        used = {name: each.cpu().numpy() for name, each in given.items() if name in self._names}
        output, *_ = self.session.run(None, used)
        return torch.from_numpy(output).to(next(iter(given.values())).device)


class _OfTensors(nn.Module):
    """A model of the tensors in its arguments, in order; the other parts are fixed."""

    def __init__(self, model: nn.Module, given: Any) -> None:
        super().__init__()
        self.model, self.given = model, given

    def forward(self, *tensors: Tensor) -> Tensor:
        rest = iter(tensors)
        args, kwargs = on_tensors(self.given, lambda _: next(rest))
        return self.model(*args, **kwargs)


def _onnxruntime() -> Any:
    # The exporter imports the first two itself, with a less helpful error.
    packages = ("onnx", "onnxscript", "onnxruntime")
    return [installed("ONNX", name, "onnx", ModelError) for name in packages][-1]


def _named(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a model's arguments, in order, with their names in the file."""
    alone = len(args) == 1 and isinstance(args[0], Tensor)
    for place, each in enumerate(args):
        for path, tensor in named_tensors(each):
            yield ("input" if alone else f"input_{place}") + path.replace("/", "_"), tensor
    for path, tensor in named_tensors(kwargs):
        yield path[1:].replace("/", "_"), tensor


def _dynamic(tensor: Tensor, size: int | None) -> dict[int, Any]:
    """Return the dimensions that may vary: examples, and in texts (of integers) their length."""
    dim = torch.export.Dim
    batch = {0: dim.DYNAMIC} if tensor.ndim and len(tensor) == size else {}
    return batch | {k: dim.AUTO for k in range(1, tensor.ndim) if not tensor.is_floating_point()}


def _name_dimensions(graph: Any) -> None:
    """Give the dimensions that may vary names that tell what they are."""
    values = [*graph.inputs, *(each for node in graph for each in node.outputs)]
    dimensions = [
        (value, place, size.value)
        for value in values
        for place, size in enumerate(value.shape or ())
        if isinstance(getattr(size, "value", None), str)
    ]
    inputs = {id(each) for each in graph.inputs}
    examples = {name for value, place, name in dimensions if not place and id(value) in inputs}
    names = dict.fromkeys(examples, "batch")
    for value, place, name in dimensions:
        if name.isidentifier():  # not sums and products of others
            number = len(names) - len(examples) + 1
            length = "length" if number == 1 else f"length_{number}"
            value.shape[place] = names.setdefault(name, length)
