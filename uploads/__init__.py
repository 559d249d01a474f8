"""Uploaded bytes in, clean pictures out, decoded in a confined process. No torch."""
