"""One process per GPU: warm models, leased jobs, and the supervisor above it."""
