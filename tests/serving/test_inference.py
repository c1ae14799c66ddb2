"""Classify, Regress and MultiInference through real gRPC."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.options import BatchingOptions
from serving.server import ModelServer
from tests.serving.example_models import save_judge

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def example(**features: float) -> Any:
    found = example_pb2.Example()
    for name, value in features.items():
        found.features.feature[name].float_list.value.append(value)
    return found


def listed(*examples: Any) -> Any:
    found = input_pb2.Input()
    found.example_list.examples.extend(examples)
    return found


def in_context(context: Any, *examples: Any) -> Any:
    found = input_pb2.Input()
    found.example_list_with_context.context.CopyFrom(context)
    found.example_list_with_context.examples.extend(examples)
    return found


TWO = listed(example(a=1, b=2), example(a=5, b=4))


def request(kind: Any, given: Any, signature: str = "", model: str = "judge") -> Any:
    message = kind(input=given)
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    return message


def classify(given: Any, signature: str = "", model: str = "judge") -> Any:
    return request(classification_pb2.ClassificationRequest, given, signature, model)


def regress(given: Any, signature: str = "regress", model: str = "judge") -> Any:
    return request(regression_pb2.RegressionRequest, given, signature, model)


def several(given: Any, *tasks: tuple[str, str], model: str = "judge") -> Any:
    message = inference_pb2.MultiInferenceRequest(input=given)
    for method, signature in tasks:
        task = message.tasks.add(method_name=method)
        task.model_spec.name = model
        task.model_spec.signature_name = signature
    return message


@pytest.fixture(scope="module", params=[None, BatchingOptions()], ids=["", "batching"])
def stub(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    base = tmp_path_factory.mktemp("judge")
    save_judge(base / "4")
    with (
        ModelServer(str(base), "judge", batching=request.param) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def table(result: Any) -> list[list[tuple[str, float]]]:
    return [
        [(one.label, one.score) for one in row.classes]
        for row in result.classifications
    ]


def test_classes_with_scores(stub: Any) -> None:
    answer = stub.Classify(classify(TWO))
    assert table(answer.result) == [
        [("small", 1.0), ("large", 2.0)],
        [("small", 5.0), ("large", 4.0)],
    ]
    spec = answer.model_spec
    assert (spec.name, spec.version.value) == ("judge", 4)
    assert spec.signature_name == "serving_default"


def test_scores_or_classes_alone(stub: Any) -> None:
    answer = stub.Classify(classify(TWO, "scores"))
    assert table(answer.result) == [[("", 1.0), ("", 2.0)], [("", 5.0), ("", 4.0)]]
    answer = stub.Classify(classify(TWO, "classes"))
    assert table(answer.result) == [[("rising", 0.0)], [("falling", 0.0)]]


@pytest.mark.parametrize("signature", ["regress", "column"])
def test_values(stub: Any, signature: str) -> None:
    answer = stub.Regress(regress(TWO, signature))
    assert [one.value for one in answer.result.regressions] == [12.0, 54.0]
    assert answer.model_spec.signature_name == signature
    assert answer.model_spec.version.value == 4


def test_a_context_is_merged_into_each_example(stub: Any) -> None:
    """An example's own feature wins over the context's, as in TF Serving."""
    given = in_context(example(a=7, b=1), example(b=2), example(), example(a=3))
    answer = stub.Regress(regress(given))
    assert [one.value for one in answer.result.regressions] == [72.0, 71.0, 31.0]


def test_several_methods_in_one_request(stub: Any) -> None:
    answer = stub.MultiInference(
        several(TWO, (CLASSIFY, ""), (REGRESS, "column"), (CLASSIFY, "classes"))
    )
    first, second, third = answer.results
    assert table(first.classification_result)[1] == [("small", 5.0), ("large", 4.0)]
    assert [one.value for one in second.regression_result.regressions] == [12.0, 54.0]
    assert table(third.classification_result) == [[("rising", 0.0)], [("falling", 0.0)]]
    assert [one.model_spec.signature_name for one in answer.results] == [
        "serving_default",
        "column",
        "classes",
    ]
    assert {one.model_spec.version.value for one in answer.results} == {4}


EMPTY = input_pb2.Input()
NO_SPEC = classification_pb2.ClassificationRequest(input=TWO)
OTHER_MODEL = several(TWO, (CLASSIFY, ""))
OTHER_MODEL.tasks.add(method_name=REGRESS).model_spec.name = "other"
NAMELESS = several(TWO, (CLASSIFY, ""))
NAMELESS.tasks.add(method_name=REGRESS)

ERRORS: list[tuple[str, Any, str, str]] = [
    ("Classify", NO_SPEC, "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("Classify", classify(TWO, model="m"), "NOT_FOUND", "for request: Latest(m)"),
    ("Classify", classify(EMPTY), "INVALID_ARGUMENT", "Input is empty."),
    ("Classify", classify(listed()), "INVALID_ARGUMENT", "Input is empty."),
    (
        "Classify",
        classify(in_context(example(a=1))),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    (
        "Classify",
        classify(TWO, "no"),
        "INVALID_ARGUMENT",
        "No signature was found with the name: no",
    ),
    (
        "Classify",
        classify(TWO, "two_inputs"),
        "INVALID_ARGUMENT",
        "Expected one input Tensor.",
    ),
    (
        "Classify",
        classify(TWO, "misnamed"),
        "FAILED_PRECONDITION",
        "No classification inputs found in SignatureDef: ",
    ),
    (
        "Classify",
        classify(TWO, "regress"),
        "FAILED_PRECONDITION",
        "Expected classification signature outputs to contain at least one of "
        '"classes" or "scores". Signature was: ',
    ),
    (
        "Classify",
        classify(TWO, "flat_scores"),
        "INVALID_ARGUMENT",
        "Expected Tensor shape: [batch_size num_classes] but got [2]",
    ),
    ("Regress", regress(EMPTY), "INVALID_ARGUMENT", "Input is empty."),
    (
        "Regress",
        regress(TWO, "no"),
        "INVALID_ARGUMENT",
        "No signature was found with the name: no",
    ),
    (
        "Regress",
        regress(TWO, "misnamed"),
        "FAILED_PRECONDITION",
        "No regression inputs found in SignatureDef: ",
    ),
    ("Regress", regress(TWO, "wrong"), "INVALID_ARGUMENT", "Expected one output Tens"),
    (
        "Regress",
        regress(TWO, "scores"),
        "FAILED_PRECONDITION",
        "No regression outputs found in SignatureDef: ",
    ),
    (
        "Regress",
        regress(TWO, "wide_value"),
        "INVALID_ARGUMENT",
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
        "but got [2,2]",
    ),
    (
        "Regress",
        regress(TWO, "whole_value"),
        "INVALID_ARGUMENT",
        "Expected output Tensor of DT_FLOAT.  Got: DT_INT64",
    ),
    (
        "MultiInference",
        several(TWO),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    (
        "MultiInference",
        NAMELESS,
        "INVALID_ARGUMENT",
        "Found ModelSpec with an empty model name.",
    ),
    (
        "MultiInference",
        OTHER_MODEL,
        "INVALID_ARGUMENT",
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    (
        "MultiInference",
        several(TWO, (CLASSIFY, "scores"), (CLASSIFY, "scores")),
        "INVALID_ARGUMENT",
        "Duplicate evaluation of signature: scores",
    ),
    (
        "MultiInference",
        several(TWO, (CLASSIFY, "no")),
        "INVALID_ARGUMENT",
        "Requested signature not found in model graph: no",
    ),
    (
        "MultiInference",
        several(TWO, ("tensorflow/serving/predict", "scores")),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    (
        "MultiInference",
        several(EMPTY, (CLASSIFY, "scores")),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    (
        "MultiInference",
        several(TWO, (CLASSIFY, ""), (REGRESS, "wide_value")),
        "INVALID_ARGUMENT",
        "Expected output Tensor shape to be either",
    ),
]


@pytest.mark.parametrize(("method", "message", "code", "words"), ERRORS)
def test_refusals(stub: Any, method: str, message: Any, code: str, words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(message)
    error: Any = caught.value
    assert (error.code(), words in error.details()) == (grpc.StatusCode[code], True), (
        error.details()
    )


def test_a_row_for_each_example_is_wanted(stub: Any) -> None:
    """Batching and Classify have different words for it."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(classify(TWO, "uneven"))
    error: Any = caught.value
    assert (error.code(), error.details()) in [
        (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Expected classes output batch size of 2. Got: 1",
        ),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "Batched output tensor's 0th dimension does not equal the sum of the 0th "
            "dimension sizes of the input tensors",
        ),
    ]
