"""Loads models from a folder or from a hub id at a pinned revision."""

import logging

# Diffusers asks transformers for image processors that need torchvision. None of them is used here.
logging.getLogger("transformers.utils.import_utils").addFilter(
    lambda record: "requires torchvision" not in record.getMessage()
)
