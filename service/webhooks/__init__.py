"""Webhooks: their payload, and the process that delivers them."""
