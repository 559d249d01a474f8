"""Parameters as a caller would write them, for documents."""

from typing import Any

TWO_REGIONS: dict[str, Any] = {
    "masks": {"regions": [{"target_mask": "left"}, {"target_mask": "right", "reference": "leaf", "scale": 0.8}]}
}
"""They name the masks `left` and `right` and the picture `leaf`."""
