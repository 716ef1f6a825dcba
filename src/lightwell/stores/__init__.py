"""The stores: the database, objects, buckets, cached documents, and space for work in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Stores", "open_stores"]

if TYPE_CHECKING:
    from lightwell.stores.opening import Stores, open_stores
else:

    def __getattr__(name: str) -> Any:
        """Not at once: codec workers use modules of this package, and need no database to be loaded."""
        if name not in __all__:
            raise AttributeError(f"module {__name__} has no attribute {name}")
        from lightwell.stores import opening

        return getattr(opening, name)
