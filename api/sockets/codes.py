"""With which code a socket is closed: it tells the client whether to come back, and when.

Three classes. Do not come back: the client did what no repetition makes right (44xx, as `graphql-transport-ws` has
them). Come back later, with a growing delay: it was too slow, or asks for too much (41xx). Come back at once: this
server stops, and another one answers (1012). `graphql-ws`, the reference client, gives up on 4400, 4401, 4406, 4409,
4429 and on most codes below 2000; on 41xx, 4403, 4408 and 1012 it comes back as often as it was told to.
"""

from __future__ import annotations

from enum import IntEnum

REASON_SIZE_MAX = 123
"""Bytes: what a close frame has room for."""


class Code(IntEnum):
    """Every code that we close with. 1007 and 1009 (no UTF-8, too large) are the server's below us."""

    NORMAL = 1000
    """It was ended by whoever asked."""
    INTERNAL = 1011
    """An error of ours, which the log has in full under the id in the reason."""
    RESTART = 1012
    """This server stops, and another answers."""
    TRY_LATER = 1013
    """As many sockets as one process serves, or nobody can be admitted at this moment."""
    TOO_SLOW = 4108
    """It read nothing for too long, or did not answer a ping."""
    TOO_MANY = 4129
    """Too many sockets of one caller, too many messages a second, or too many tokens that are new from one address."""
    BAD_MESSAGE = 4400
    """A frame that is no text, or a text that is no message of the protocol."""
    NOT_INITIALISED = 4401
    """Something was asked before `connection_init` was answered."""
    FORBIDDEN = 4403
    """Nobody we know, or not any more. Come back with a token that is valid."""
    NO_PROTOCOL = 4406
    """The client speaks no protocol that we speak."""
    INITIALISATION_TIMEOUT = 4408
    """No `connection_init` in time."""
    DUPLICATE_ID = 4409
    """An id that is still in use on this socket."""
    INITIALISED_TWICE = 4429
    """A second `connection_init`."""


def reason(text: str) -> str:
    """A reason as it fits into a close frame."""
    return text.encode()[:REASON_SIZE_MAX].decode("utf-8", "ignore")
