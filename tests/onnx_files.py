"""Small models of ONNX, written without an exporter."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def onnx_file(path, nodes=None, inputs=None, outputs=None, weight=WEIGHT):
    """Write a model that is, by default, a linear layer of 4 inputs and 3 outputs."""
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "weight"], ["logits"])],
        "model",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        outputs or [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path
