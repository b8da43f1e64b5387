"""Every claim of speed as a command that prints it beside a baseline: `python -m benchmarks`, from a checkout."""
