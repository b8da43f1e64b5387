"""What a running system says when it is asked from outside: readings of Kafka, Redis, workers and the API.

`plimsoll status`, `doctor` and `top` all look through here. A reading is a plain record of what was found; what it
means is judged elsewhere, without any I/O. Looking changes nothing. Whatever is asked has a deadline, and what is away
raises `Unavailable` with a reason, so that one part that is away, or hangs, hides nothing of the others.
"""
