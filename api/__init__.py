"""GraphQL, REST and subscriptions over what the engine left in Redis."""
