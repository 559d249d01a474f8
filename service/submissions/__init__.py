"""From the body of a request to queued jobs."""
