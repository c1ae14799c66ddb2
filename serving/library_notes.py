"""What libraries say at import that is of no use to who runs a command."""

import logging
import warnings

_WARNINGS = (
    r"You are using a Python version .* which Google will stop supporting",
    r"Support for google-cloud-storage < 3.0.0 will be removed",
)
# Beam asks for crcmod, and then uses google-crc32c, which is there.
_LOGGED = "crcmod package not found."


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_LOGGED)


def silence() -> None:
    """Call before Google's libraries are imported: they speak of their own future."""
    for note in _WARNINGS:
        warnings.filterwarnings("ignore", note, FutureWarning)
    logging.getLogger().addFilter(_is_news)
