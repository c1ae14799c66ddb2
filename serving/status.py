"""The one error that a request answers with."""

import grpc

# TF Serving cuts the details of a gRPC status here.
MAX_DETAILS = 1024


class ServingError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: gRPC status code; `serving/rest.py` translates it to an HTTP status.
        message: what was wrong, in TF Serving's words where it has some.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)

    @classmethod
    def invalid(cls, message: str) -> "ServingError":
        """An INVALID_ARGUMENT error."""
        return cls(grpc.StatusCode.INVALID_ARGUMENT, message)

    @classmethod
    def not_found(cls, message: str) -> "ServingError":
        """A NOT_FOUND error."""
        return cls(grpc.StatusCode.NOT_FOUND, message)

    @classmethod
    def no_servable(cls, name: str, version: int | None) -> "ServingError":
        """NOT_FOUND for a model, or a version of it, that is not available."""
        which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        return cls.not_found(f"Servable not found for request: {which}")

    @classmethod
    def failed_precondition(cls, message: str) -> "ServingError":
        """A FAILED_PRECONDITION error."""
        return cls(grpc.StatusCode.FAILED_PRECONDITION, message)

    @classmethod
    def unknown(cls, message: str) -> "ServingError":
        """An UNKNOWN error."""
        return cls(grpc.StatusCode.UNKNOWN, message)

    @classmethod
    def from_number(cls, number: int, message: str) -> "ServingError":
        """From a TensorFlow error's code, which has the same numbers as gRPC's."""
        for code in grpc.StatusCode:
            if code.value[0] == number:
                return cls(code, message)
        return cls(grpc.StatusCode.UNKNOWN, message)
