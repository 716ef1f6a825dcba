"""What is known already of elements that come again: most elements of a series repeat from file to file."""

from __future__ import annotations


class SeriesCache:
    """Bounded; may be kept across files and series."""
