"""What attention layers of the output row read instead of their own features."""
