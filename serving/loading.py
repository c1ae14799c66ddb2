"""One attempt to load a version: read, warm up, measure."""

import time

from serving.metrics import Metrics
from serving.servable import Servable
from serving.status import ServingError
from serving.version_state import LoadPolicy
from serving.warm_up import warm_up

_UNKNOWN = 2  # google.rpc.Code of errors that carry none of their own


def load(
    name: str, number: int, path: str, policy: LoadPolicy, metrics: Metrics
) -> tuple[Servable, int]:
    """The servable in a directory, and how many warm-up requests it has answered.

    Raises:
        ServingError: with the code of what a damaged export or a failing warm-up
            request raised.
    """
    began = time.monotonic()
    status = "OK"
    try:
        servable = Servable(name, number, path, policy.tags)
    except Exception as error:  # whatever a damaged export raises
        failure = _serving_error(error)
        status = failure.code.name
        raise failure from error
    finally:
        metrics.load(name, number, status, time.monotonic() - began, path)
    if not policy.warm_up:
        return servable, 0
    began = time.monotonic()
    try:
        return servable, warm_up(servable, policy.warm_up_iterations)
    except Exception as error:
        failure = _serving_error(error)
        status = failure.code.name
        raise failure from error
    finally:
        metrics.warm_up(status, time.monotonic() - began, path)


def _serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    number = int(getattr(error, "error_code", _UNKNOWN))
    return ServingError.from_number(number, f"{type(error).__name__}: {error}")
