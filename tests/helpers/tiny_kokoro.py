"""A tiny Kokoro: an ONNX graph with the export's inputs and outputs, for the real kokoro-onnx and onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

PER_FRAME = 600  # samples
TOKENS_PER_FRAME = 50  # what a token's number is divided by


def write_kokoro(path: Path, timed: bool = True) -> Path:
    """A folder: audio = 0.1 + style[0], so that voices are told apart, at each of 600 samples a frame.

    A token takes a frame for each fifty of its number, divided by speed; with ``timed`` as clamp(round(..), min=1).
    """
    nodes = [
        helper.make_node("Cast", ["tokens"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["numbers", "fifty"], ["slow"]),
        helper.make_node("Div", ["slow", "speed"], ["frames"]),
        helper.make_node("Round" if timed else "Ceil", ["frames"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "least"], ["clipped"]),
        helper.make_node("ReduceSum", ["clipped"], ["frames_in_all"], keepdims=0),
        helper.make_node("Mul", ["frames_in_all", "per_frame"], ["count_float"]),
        helper.make_node("Cast", ["count_float"], ["count"], to=TensorProto.INT64),
        helper.make_node("Slice", ["style", "zero", "one", "one"], ["first"]),
        helper.make_node("Reshape", ["first", "one"], ["level"]),
        helper.make_node("Expand", ["level", "count"], ["audio"]),
    ]
    initial = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("zero", 0), ("one", 1))]
    initial += [
        helper.make_tensor("fifty", TensorProto.FLOAT, [1], [float(TOKENS_PER_FRAME)]),
        helper.make_tensor("least", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("per_frame", TensorProto.FLOAT, [1], [float(PER_FRAME)]),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "sequence_length"]),
        helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, 256]),
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [1]),
    ]
    output = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["samples"])
    graph = helper.make_graph(nodes, "tiny", inputs, [output], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path / "tiny.onnx"))
    levels = {"af_one": 0.3, "am_two": 0.5, "bf_three": 0.7, "jf_other": 0.9}
    voices = {name: np.full((510, 1, 256), level, np.float32) for name, level in levels.items()}
    np.savez(path / "voices.npz", **voices)
    return path
