"""Which part of a picture takes part."""
