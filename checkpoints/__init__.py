"""Loads models from a folder or from a hub id at a pinned revision."""
