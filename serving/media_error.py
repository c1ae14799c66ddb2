"""The one error that unreadable media raise."""


class MediaError(ValueError):
    """A media file that cannot be read, decoded or accepted.

    Attributes:
        reason: a short stable code, fit for counting and for quarantine reports:
            `missing_file`, `not_a_file`, `unreadable_file`, `empty_file`,
            `too_many_bytes`, `corrupt_archive`, `unsupported_format`,
            `corrupt_image`, `too_many_pixels`, `no_pixel_data`, `bad_frame`,
            `too_many_frames`, `corrupt_audio`, `truncated_audio`, `too_long_audio`,
            `decoder_timeout`, `decoder_failed`.
        name: the file's name where the caller gave one, else "".

    The message says what was wrong and what to do. It never holds file content.
    """

    def __init__(self, reason: str, message: str, name: str = "") -> None:
        self.reason = reason
        self.name = name
        super().__init__(f"{name}: {message}" if name else message)
