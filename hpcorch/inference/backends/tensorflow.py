"""Frozen TensorFlow graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from hpcorch.client.codecs import Tensor
from hpcorch.inference.backends.base import Loaded, LoadOptions, check_count
from hpcorch.inference.blob import Blob
from hpcorch.inference.devices import CPU, Device, gpus
from hpcorch.inference.faults import Fault


class GraphModel:
    """A session with the graph and a callable from its inputs to its outputs."""

    def __init__(self, call: Any, inputs: int) -> None:
        self._call = call
        self._inputs = inputs

    def run(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """As Loaded says."""
        check_count(arrays, self._inputs)
        return list(self._call(*arrays))


class TensorflowBackend:
    """TensorFlow 2, with the sessions of its first version: they have the least overhead."""

    def devices(self) -> Sequence[Device]:
        """As Backend says."""
        return (CPU, *gpus(len(tf.config.list_physical_devices("GPU"))))

    def load(self, blob: Blob, options: LoadOptions) -> Loaded:
        """As Backend says."""
        definition = tf.compat.v1.GraphDef()
        try:
            definition.ParseFromString(blob.data())
        except Exception as error:
            raise Fault("refused", f"this is no frozen TensorFlow graph: {error}") from error
        graph = tf.Graph()
        place = "/CPU:0" if options.device.gpu is None else f"/GPU:{options.device.gpu}"
        with graph.as_default(), graph.device(place):
            tf.import_graph_def(definition, name="")
        inputs = [_tensor(graph, name) for name in options.inputs]
        outputs = [_tensor(graph, name) for name in options.outputs]
        session = tf.compat.v1.Session(graph=graph, config=_config(options.threads))
        return GraphModel(session.make_callable(outputs, feed_list=inputs), len(inputs))


def _tensor(graph: Any, name: str) -> Any:
    """Return the tensor `name`, or the first one of the operation `name`."""
    try:
        return graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
    except (KeyError, ValueError) as error:
        raise Fault("refused", f"the graph has no node {name!r}") from error


def _config(threads: int) -> Any:
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=1,
        allow_soft_placement=True,
    )
    # Several workers, and the application, may share a GPU.
    config.gpu_options.allow_growth = True
    return config


BACKEND = TensorflowBackend()
