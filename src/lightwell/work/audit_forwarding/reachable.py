"""Why what takes audit records cannot be reached, and what a person can do about it."""

from __future__ import annotations

import socket
import ssl
from queue import Empty, Queue
from threading import Thread

from lightwell.work.audit_forwarding.target import ForwardingError, Target

SECONDS = 5.0
"""How long each step of a check waits."""
WHOLE_SECONDS = 30.0
"""How long a check takes at most: each byte that arrives is another step."""


def check_within(seconds: float, target: Target) -> str:
    """What the check of a target says, which is closed then. Raises what that does, in time."""
    ended: Queue[str | Exception] = Queue()

    def check() -> None:
        said: str | Exception
        try:
            said = target.check()
        except Exception as error:
            said = error
        target.close()
        ended.put(said)

    # What it waits for may never come, and then it ends with the process.
    Thread(target=check, name="check", daemon=True).start()
    try:
        said = ended.get(timeout=seconds)
    except Empty:
        raise ForwardingError(
            f"what audit_{target.name} names has not answered in full within {seconds:.0f} seconds: check "
            "the setting, and what is on the way"
        ) from None
    if isinstance(said, Exception):
        raise said
    return said


def explained(error: Exception, place: str, setting: str) -> ForwardingError:
    """An error of a connection to ``place``, in words; ``setting`` is what its settings begin with."""
    return ForwardingError(f"{place}, {_explain(error, setting)}")


def _explain(error: Exception, setting: str) -> str:
    if isinstance(error, ForwardingError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message or "not valid for" in error.verify_message:
            return (
                f"whose certificate is of another name ({error.verify_message}): name it in {setting} as its "
                "certificate does"
            )
        return (
            f"whose certificate is not trusted ({error.verify_message}): set {setting}_ca to a file with the "
            "certificate of the authority that issued it, or have it replaced"
        )
    if isinstance(error, ssl.SSLError):
        said = (error.reason or "").replace("_", " ").lower()
        if "certificate required" in said or "handshake failure" in said:
            return (
                f"which asks for a client certificate ({said}): set {setting}_certificate to a file with one "
                "and its key"
            )
        if "alert" in said and ("certificate" in said or "unknown ca" in said):
            return (
                f"which refuses the client certificate ({said}): have it issued by an authority that the "
                "receiver trusts"
            )
        return f"which does not speak TLS as it should ({said or error}): check the port in {setting}"
    if isinstance(error, socket.gaierror):
        return f"whose name cannot be resolved: check {setting}, and the DNS of this machine"
    if isinstance(error, ConnectionRefusedError):
        return f"where nothing listens: check the port in {setting}, and that the receiver runs"
    if isinstance(error, TimeoutError):
        return (
            f"which does not answer within {SECONDS:.0f} seconds: check {setting}, and firewalls on the way"
        )
    if isinstance(error, OSError):
        return f"which cannot be reached ({error.strerror or error}): check {setting}"
    return f"which does not answer as it should ({type(error).__name__}): check {setting}"
