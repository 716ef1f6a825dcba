"""How much of the spool of one HTTP process uploads may take: all together, and the unproved ones.

If an upload does not state the hash of its body, its signature can be checked only once the whole body is
there. So anyone who knows an access key id may send one. Such uploads get little room and little time.
"""

from __future__ import annotations

from lightwell.errors import TooLargeError, UnavailableError

# Of uploads that cannot be proved before their end: the bytes of one, the bytes of all in a process. How long
# one may take is up to `web.http1.protocol`.
UNPROVED = 16 << 20
ALL_UNPROVED = 4 * UNPROVED
# All uploads of a process together may take this many times the limit of one.
AT_ONCE = 4

HOW_TO_PROVE = (
    "State the SHA-256 of the body, or UNSIGNED-PAYLOAD, in the header x-amz-content-sha256 and sign it, "
    "so that the signature can be checked first."
)


class SpoolUsage:
    """How many bytes of uploads are spooled; for use on the event loop only."""

    def __init__(self) -> None:
        self.unproved = 0
        self.proved = 0


class SpoolShare:
    """The part of one upload. ``limit`` is how many bytes of DICOM data one upload may have."""

    def __init__(self, spool_usage: SpoolUsage, limit: int, *, is_proved: bool) -> None:
        self.is_proved = is_proved
        self._usage = spool_usage
        self._limit = limit
        self._bytes = 0

    def check(self, declared: int) -> None:
        """Raises `TooLargeError` if a body of ``declared`` bytes is too long for an unproved upload."""
        if not self.is_proved and declared > UNPROVED:
            raise TooLargeError(
                f"An upload that does not state its hash may have at most {UNPROVED} bytes. {HOW_TO_PROVE}"
            )

    def add(self, count: int) -> None:
        """Another ``count`` bytes have arrived.

        Raises `TooLargeError`, or `UnavailableError` if other uploads take up the room.
        """
        self._bytes += count
        if self.is_proved:
            self._usage.proved += count
            if self._usage.proved > AT_ONCE * self._limit:
                raise _unavailable(
                    "Too much is being uploaded at the moment. Try again when other uploads have finished."
                )
            return
        self._usage.unproved += count
        self.check(self._bytes)
        if self._usage.unproved > ALL_UNPROVED:
            raise _unavailable(
                "Too much is being uploaded without a stated hash, by senders that cannot be verified yet. "
                f"{HOW_TO_PROVE}"
            )

    def prove(self) -> None:
        """Its signature has been verified."""
        if not self.is_proved:
            self._usage.unproved -= self._bytes
            self._usage.proved += self._bytes
            self.is_proved = True

    def end(self) -> None:
        """It has been removed from the spool."""
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
