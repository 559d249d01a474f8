"""Uploaded bytes in, clean pictures out, decoded in a confined process. No torch.

`decoder_pool` (children of this process) -> `decoder_process` (one child) -> `sandbox` (what it may do), `images` (the
checks and the decoding) -> `png` (the writing).
"""
