"""What uploads may have in the spool of one HTTP process: all together, and those that nobody has proved yet.

A signature over a hash of the body that is not stated can be checked only when all of the body is there, so
anybody who has heard of an access key may send such a one. Those have little room, and little time.
"""

from __future__ import annotations

from lightwell.errors import TooLargeError, UnavailableError

# Of what cannot be proved before its end: an upload, all of a process, and how long one may take in seconds.
UNPROVED = 16 << 20
ALL_UNPROVED = 4 * UNPROVED
UNPROVED_SECONDS = 30.0
# All uploads of a process may take so often what one may.
AT_ONCE = 4

HOW_TO_PROVE = (
    "State the SHA-256 of the body, or UNSIGNED-PAYLOAD, in the header x-amz-content-sha256, and sign it: "
    "then the signature is checked first."
)


class SpoolUsage:
    """How many bytes of uploads lie there; for the event loop alone."""

    def __init__(self) -> None:
        self.unproved = 0
        self.proved = 0


class SpoolShare:
    """What one upload has of it. ``limit`` is that of the DICOM data of one upload, in bytes."""

    def __init__(self, spool_usage: SpoolUsage, limit: int, *, is_proved: bool) -> None:
        self.is_proved = is_proved
        self._usage = spool_usage
        self._limit = limit
        self._bytes = 0

    def check(self, declared: int) -> None:
        """Raises `TooLargeError` for a body of so many bytes that may not come without a proof."""
        if not self.is_proved and declared > UNPROVED:
            raise TooLargeError(
                f"An upload that does not state its hash may have {UNPROVED} bytes, not more. {HOW_TO_PROVE}"
            )

    def add(self, count: int) -> None:
        """So much more of it has come.

        Raises `TooLargeError`, or `UnavailableError` where others take the room.
        """
        self._bytes += count
        if self.is_proved:
            self._usage.proved += count
            if self._usage.proved > AT_ONCE * self._limit:
                raise _unavailable(
                    "More is being uploaded than the spool may hold: try again when other uploads have ended."
                )
            return
        self._usage.unproved += count
        self.check(self._bytes)
        if self._usage.unproved > ALL_UNPROVED:
            raise _unavailable(
                "Too much is being uploaded without its hash, so that nobody knows yet who sends it. "
                f"{HOW_TO_PROVE}"
            )

    def prove(self) -> None:
        """Its signature has been found to be good."""
        if not self.is_proved:
            self._usage.unproved -= self._bytes
            self._usage.proved += self._bytes
            self.is_proved = True

    def end(self) -> None:
        """It has gone from the spool."""
        if self.is_proved:
            self._usage.proved -= self._bytes
        else:
            self._usage.unproved -= self._bytes
        self._bytes = 0


def _unavailable(message: str) -> UnavailableError:
    error = UnavailableError(message)
    error.retry_after = 5
    return error


spool_usage = SpoolUsage()
"""Of this process."""
