"""What surrounds every request: its log line, who calls, how slowly a client may send."""
