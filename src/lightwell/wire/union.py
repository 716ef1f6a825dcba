"""A structure of which exactly one member is set (Smithy's union trait)."""

from __future__ import annotations

from msgspec import Struct


class OneOf(Struct, frozen=True):
    """Refuses none or several members; msgspec turns the ValueError into its own error, with the path."""

    def __post_init__(self) -> None:
        if sum(getattr(self, name) is not None for name in self.__struct_fields__) != 1:
            raise ValueError(f"Member must have exactly one of [{', '.join(self.__struct_encode_fields__)}]")
