"""Folder or hub id at a pinned revision in, ready models out."""
