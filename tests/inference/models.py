"""Small models with random weights, made here, and what they must compute."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as tflite
from onnx import TensorProto, helper, numpy_helper

# Old enough for every ONNX Runtime that is still in use.
_OPSET = 17
_IR = 8

Array = np.ndarray[Any, np.dtype[Any]]


def weights(*shape: int, seed: int = 0) -> Array:
    made: Array = np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)
    return made


def onnx_bytes(nodes: list[Any], inputs: list[Any], outputs: list[Any], values: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "model", inputs, outputs, values)
    opset = [helper.make_opsetid("", _OPSET)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=_IR)
    onnx.checker.check_model(made)
    data: bytes = made.SerializeToString()
    return data


def floats(name: str, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def mlp(sizes: tuple[int, ...] = (64, 256, 256, 10), seed: int = 0) -> bytes:
    """Dense layers with ReLU between them, for any number of rows."""
    nodes, values, here = [], [], "x"
    last = len(sizes) - 2
    for layer in range(last + 1):
        values.append(
            numpy_helper.from_array(weights(*sizes[layer : layer + 2], seed=seed), f"w{layer}")
        )
        nodes.append(helper.make_node("MatMul", [here, f"w{layer}"], [f"y{layer}"]))
        here = f"y{layer}"
        if layer < last:
            nodes.append(helper.make_node("Relu", [here], [f"r{layer}"]))
            here = f"r{layer}"
    return onnx_bytes(nodes, [floats("x", "n", sizes[0])], [floats(here, "n", sizes[-1])], values)


def mlp_result(x: Array, sizes: tuple[int, ...] = (64, 256, 256, 10), seed: int = 0) -> Array:
    for layer in range(len(sizes) - 1):
        x = x @ weights(*sizes[layer : layer + 2], seed=seed)
        if layer < len(sizes) - 2:
            x = np.maximum(x, 0)
    return x


def cnn() -> bytes:
    """A convolution, ReLU, the mean over the image, and a dense layer."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    values = [
        numpy_helper.from_array(weights(8, 1, 3, 3), "k"),
        numpy_helper.from_array(weights(8, 10), "w"),
    ]
    return onnx_bytes(nodes, [floats("x", "n", 1, 28, 28)], [floats("y", "n", 10)], values)


def sum_and_difference() -> bytes:
    """Two inputs, two outputs."""
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Sub", ["a", "b"], ["d"])]
    ends = [[floats(name, "n") for name in names] for names in ("ab", "sd")]
    return onnx_bytes(nodes, ends[0], ends[1], [])


def tflite_dense(inputs: int = 4, outputs: int = 3) -> bytes:
    """One dense layer, as a TensorFlow Lite file."""
    model = tflite.ModelT()
    model.version = 3
    code = tflite.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = tflite.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes = [code]
    graph = tflite.SubGraphT()
    shapes = ([1, inputs], [outputs, inputs], [1, outputs])
    graph.tensors = []
    for index, (name, shape) in enumerate(zip("xwy", shapes, strict=True)):
        tensor = tflite.TensorT()
        tensor.shape, tensor.type = shape, tflite.TensorType.FLOAT32
        tensor.name, tensor.buffer = name.encode(), index
        graph.tensors.append(tensor)
    layer = tflite.OperatorT()
    layer.inputs, layer.outputs = [0, 1, -1], [2]
    layer.builtinOptionsType = tflite.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = tflite.FullyConnectedOptionsT()
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer]
    model.subgraphs = [graph]
    model.buffers = [tflite.BufferT() for _ in range(3)]
    model.buffers[1].data = np.frombuffer(weights(outputs, inputs).tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def heavy() -> bytes:
    """Convolutions over an image of 224 x 224: as many multiplications as ResNet-18 has."""
    first = helper.make_node("Conv", ["x", "k"], ["c"], pads=[1] * 4, strides=[2, 2])
    nodes, values, here = [first], [numpy_helper.from_array(weights(64, 3, 3, 3), "k")], "c"
    for layer in range(4):
        values.append(numpy_helper.from_array(weights(64, 64, 3, 3), f"k{layer}"))
        nodes.append(helper.make_node("Conv", [here, f"k{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        here = f"r{layer}"
    nodes.append(helper.make_node("GlobalAveragePool", [here], ["y"]))
    ends = floats("x", "n", 3, 224, 224), floats("y", "n", 64, 1, 1)
    return onnx_bytes(nodes, [ends[0]], [ends[1]], values)


ROWS = weights(3, 64, seed=5)
MLP = mlp()
RESULT = mlp_result(ROWS)


def close(found: Any, wanted: Array = RESULT) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
