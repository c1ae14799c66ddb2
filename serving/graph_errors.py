"""What may be told of a graph's error: where it came from, and no input value.

TensorFlow's own texts quote the values that they are about ("could not correctly
convert string: ..."), and a batch holds several callers' values. So a text goes out only
where nothing of it comes from the inputs: the model's own words in an assertion, and a
few fixed sentences about shapes and formats.
"""

import re
from collections.abc import Iterable
from typing import Any

_SHAPE = r"\[[\d,?]*\]"
_TYPE = "(?:string|bytes|float|int64)"
# Whole sentences of TensorFlow's kernels: fixed words and shapes.
_HARMLESS = [
    re.compile(pattern)
    for pattern in (
        r"Unknown image file format\. One of JPEG, PNG, GIF, BMP required\.",
        r"Data too short when trying to read string",
        # Of a value that is no tf.Example, and of features unlike the model's.
        r"Could not parse example input",
        rf"Data types don't match\. Data type: {_TYPE} but expected type: {_TYPE}",
        rf"Data types don't match\. Expected type: {_TYPE}, Actual type: {_TYPE}",
        rf"Number of {_TYPE} values != expected\.  Values size: \d+ but output shape: "
        rf"{_SHAPE}",
        rf"Incompatible shapes: {_SHAPE} vs\. {_SHAPE}",
        rf"Matrix size-incompatible: In\[0\]: {_SHAPE}, In\[1\]: {_SHAPE}",
        rf"ConcatOp : Dimension \d+ in both shapes must be equal: "
        rf"shape\[\d+\] = {_SHAPE} vs\. shape\[\d+\] = {_SHAPE}",
        rf"Shape of tensor \S+ {_SHAPE} is not compatible with expected shape {_SHAPE}\.",
    )
]
_ASSERTED = re.compile(r"assertion failed: \[(.*)\]", re.DOTALL)
_NODE = re.compile(r"\{\{node ([^}]*)\}\}")


def asserted_words(functions: Iterable[Any]) -> frozenset[str]:
    """The constant strings that a graph's assertions print.

    Args:
        functions: the `FunctionDef` protos of a graph.
    """
    words = set()
    for function in functions:
        constants = {
            node.name: node.attr["value"].tensor.string_val
            for node in function.node_def
            if node.op == "Const" and node.attr["dtype"].type == 7
        }
        for node in function.node_def:
            if node.op == "Assert":
                for name in node.input:
                    for text in constants.get(name.split(":")[0], ()):
                        words.add(text.decode(errors="replace"))
    return frozenset(words)


def safe_text(message: str, words: frozenset[str] = frozenset()) -> str:
    """What may be told of a graph's error message.

    Args:
        message: TensorFlow's text.
        words: what `asserted_words` gave for the model.
    """
    nodes = _NODE.findall(message)
    where = f" at node {nodes[-1]}" if nodes else ""
    asserted = _ASSERTED.search(message)
    if asserted:
        # A value that looks like these brackets falls apart into pieces that are
        # nobody's words.
        told = [
            f"[{part}]" if part in words else "[...]"
            for part in asserted[1].split("] [")
        ]
        return f"assertion failed: {' '.join(told)}{where}"
    for harmless in _HARMLESS:
        found = harmless.search(message)
        if found:
            return f"{found[0]}{where}"
    return (
        f"the graph refused its input{where}; what it said is left out, for it may "
        "quote the input"
    )
