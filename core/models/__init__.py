"""The frozen networks and what is read from them."""
