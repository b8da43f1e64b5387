"""Websockets at /graphql: both protocols that clients speak, who may open one, and what a slow reader is spared."""
