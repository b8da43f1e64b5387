"""Plimsoll: how deep may she ride. Live portfolio risk; this package is the language its programs share."""

__version__ = "0.2.0"
