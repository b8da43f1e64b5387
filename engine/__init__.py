"""Kafka in, a book of positions, risk, Redis and Kafka out: the Bytewax dataflow and its supervisor."""
