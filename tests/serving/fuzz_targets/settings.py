"""How long the fuzz tests run.

By default a fixed set of examples, the same every time, so that the suite is quick and
never fails by chance. `FUZZ_EXAMPLES=20000` draws so many new ones for each test and
prints how to repeat a failure (`make fuzz`).
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Settings of a fuzz test that runs `examples` examples in the default suite."""
    asked = int(os.environ.get("FUZZ_EXAMPLES", "0"))
    return settings(
        max_examples=asked or examples,
        derandomize=not asked,
        print_blob=bool(asked),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
