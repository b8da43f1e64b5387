"""Makes a market and portfolios out of real closes and a seed, and publishes them to Kafka."""
