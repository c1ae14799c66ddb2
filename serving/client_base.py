"""Asking a model with raw values, whatever carries the request."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc

from serving.rows import Contract, OnBadMedia, Row, batches, decode
from serving.tensors import Array


class ClientError(RuntimeError):
    """A request that a model did not answer.

    Attributes:
        code: gRPC status code.
        details: the server's words.
        target: which server and model were asked.
    """

    def __init__(self, code: grpc.StatusCode, details: str, target: str) -> None:
        self.code = code
        self.details = details
        self.target = target
        super().__init__(f"{target}: {code.name}: {details}")


class AskedModel(ABC):
    """What asking does, apart from the transport."""

    target: str

    def __init__(self, max_batch_size: int) -> None:
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size must be at least 1, got {max_batch_size}")
        self._max_batch_size = max_batch_size
        self._contract: Contract | None = None

    def contract(self) -> Contract:
        """What the model takes; asked for once.

        Raises:
            ClientError: where the model cannot be asked, or is not of this kind.
        """
        if self._contract is None:
            signatures = self._signatures()
            try:
                self._contract = Contract.of(signatures)
            except ValueError as error:
                raise ClientError(
                    grpc.StatusCode.FAILED_PRECONDITION, str(error), self.target
                ) from error
        return self._contract

    def predict(
        self,
        rows: Iterable[Row],
        base: str | Path = "",
        on_bad_media: OnBadMedia = "raise",
    ) -> list[dict[str, Any]]:
        """Asks the model.

        Args:
            rows: input name -> value. An image or a sound is bytes (a file's content)
                or a path, URL or `archive.zip!member`; an image may also be a uint8
                array. A text or category is a str, a numeric input a number. None, or
                no key at all, means that the input is absent.
            base: folder or URL that relative paths start from.
            on_bad_media: "raise", or "absent" to go on without a file that cannot be
                read or transcoded.

        Returns:
            One dict a row, in order: `H` the answer of head H, `H_scores` its class ->
            score, `H_abstained` whether it was too unsure (of a head that can
            abstain), `N_present` whether input N was there, `C_unknown` whether
            training never saw the category in column C, `model_version`.

        Raises:
            RowError: a row that cannot be sent.
            ClientError: the model's refusal, or a server out of reach.
        """
        rows = list(rows)
        answers: list[dict[str, Any]] = []
        if not rows:
            return answers
        contract = self.contract()
        contract.check_keys(rows)
        for start, batch in batches(rows, self._max_batch_size):
            inputs = contract.encode(batch, os.fspath(base), on_bad_media, start)
            try:
                outputs, version = self._run(inputs)
            except ClientError as error:
                if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                    self._contract = None  # a new version may take other inputs
                raise
            answers.extend(decode(outputs, version))
        return answers

    @abstractmethod
    def _signatures(self) -> Mapping[str, Any]:
        """Signature name -> `SignatureDef`."""

    @abstractmethod
    def _run(self, inputs: Mapping[str, Array]) -> tuple[Mapping[str, Array], int]:
        """Outputs of `serving_raw`, and the version that gave them."""
