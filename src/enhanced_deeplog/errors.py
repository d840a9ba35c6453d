"""One error tree. Each docstring: when it happens, and what to do about it.

Every error carries the exit code of the command line, so a library user and a shell see the same distinction.
"""

from __future__ import annotations

__all__ = [
    "BundleError",
    "ConfigError",
    "EnhancedDeepLogError",
    "InputError",
    "OutputError",
    "SessionError",
    "TooFewSessionsError",
    "UsageError",
]


class EnhancedDeepLogError(Exception):
    """The root of all errors raised on purpose. Catch it to catch every one of them."""

    exit_code = 1


class UsageError(EnhancedDeepLogError):
    """The call itself is wrong: options that exclude each other, an invalid pattern. Change the call."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or has a value out of range. The text names the key and the nearest valid one."""


class OutputError(UsageError):
    """A result can't be written where it was asked for. Choose another path or mend its permissions."""


class InputError(EnhancedDeepLogError):
    """A log can't be read: missing, empty, binary, truncated, of another format. The text names file and line."""

    exit_code = 4


class SessionError(InputError):
    """The records don't make sessions: the key matches nothing, or a sequence is empty. Try another session key."""


class TooFewSessionsError(SessionError):
    """There are fewer sessions than the method needs; the text says how many came and how many are needed."""


class BundleError(EnhancedDeepLogError):
    """A bundle is damaged, incomplete, too new, or holds what no bundle may hold. Fetch it again, or fit anew."""

    exit_code = 5
