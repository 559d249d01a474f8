"""Parameters as a caller would write them, for documents."""

from typing import Any

TWO_REGIONS: dict[str, Any] = {
    "regions": [{"target_mask": "left"}, {"target_mask": "right", "reference": "leaf", "strength": 0.8}]
}
"""They name the masks `left` and `right` and the picture `leaf`."""
