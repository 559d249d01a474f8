"""One process per GPU: warm models, leased jobs, and the supervisor that restarts it."""
