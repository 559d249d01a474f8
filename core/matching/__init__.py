"""From features of two pictures to a dense semantic correspondence."""
