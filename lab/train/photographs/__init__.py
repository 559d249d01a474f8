"""Photographs that models are trained on: where they come from and under which licences (`sources`), and pairs of views
of them whose correspondence is exact (`views`)."""
