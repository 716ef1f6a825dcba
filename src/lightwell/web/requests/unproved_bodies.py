"""How much memory of one HTTP process bodies may take whose sender is not proved: in all, and per address (of
IPv6: per /64).

Only what waits for more of its body counts: a request that arrives in one piece, as most do, holds nothing.
How long such a body may take is up to the connection (`web.http1.protocol`), which is also the first to be
closed when connections are scarce.
"""

from __future__ import annotations

from lightwell.errors import UnavailableError
from lightwell.web.requests.proxies import client_network

ALL_BYTES = 64 << 20
ADDRESS_BYTES = ALL_BYTES // 4

HOW_TO_PROVE = "State the SHA-256 of the body in the header x-amz-content-sha256 and sign it"


class UnprovedBodies:
    """What is held of them; for use on the event loop only."""

    def __init__(self) -> None:
        self.held = 0
        self._by_address: dict[str, int] = {}

    def add(self, address: str | None, count: int) -> None:
        """Another ``count`` bytes of a body from this address are held, until `remove` says otherwise.

        Raises `UnavailableError` if there is no room for them; they count nevertheless.
        """
        self.held += count
        network = client_network(address)
        held = self._by_address[network] = self._by_address.get(network, 0) + count
        if held > ADDRESS_BYTES or self.held > ALL_BYTES:
            error = UnavailableError(
                "Too many requests whose sender is not known yet are being received. "
                f"{HOW_TO_PROVE}, so that it is known first; or try again in a moment."
            )
            error.retry_after = 5
            raise error

    def remove(self, address: str | None, count: int) -> None:
        """``count`` bytes are no longer held, or their sender is known."""
        self.held -= count
        network = client_network(address)
        held = self._by_address.get(network, 0) - count
        if held > 0:
            self._by_address[network] = held
        else:
            self._by_address.pop(network, None)


unproved_bodies = UnprovedBodies()
"""Of this process."""
