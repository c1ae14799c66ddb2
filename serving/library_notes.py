"""What libraries say at import that is of no use to who runs a command."""

import warnings

_NOTES = (
    r"You are using a Python version .* which Google will stop supporting",
    r"Support for google-cloud-storage < 3.0.0 will be removed",
)


def silence() -> None:
    """Call before Google's libraries are imported: they warn of their own future."""
    for note in _NOTES:
        warnings.filterwarnings("ignore", note, FutureWarning)
