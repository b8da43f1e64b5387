"""Everything in one process tree with nothing installed: broker, store and supervisor."""
