"""Commands of `plimsoll` that need more room than a function in `plimsoll.cli`. They read no environment."""
