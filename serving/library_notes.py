"""What libraries say at import that is of no use to who runs a command."""

import warnings


def silence() -> None:
    """Call before Google's libraries are imported: google-api-core warns of a date.

    From then on it will no longer be made for this version of Python.
    """
    warnings.filterwarnings(
        "ignore", r"You are using a Python version .* which Google will stop supporting"
    )
