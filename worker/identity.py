"""Ids of workers: the host, so that people and health checks know where one runs, and random digits."""

import re
import secrets
import socket


def host_prefix() -> str:
    """The start of the id of every worker on this host; at most 41 characters."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40] + "-"


def new_worker_id() -> str:
    """Unique; fits the store's rule for names."""
    return host_prefix() + secrets.token_hex(8)
