"""In which versions of an image set a row of ``member`` or ``level`` holds; see docs/design/versions.md.

A row holds in version v where ``valid_from <= v < valid_to``. While it holds in the latest version, it is
*open*: ``valid_to`` is NULL.
"""

from __future__ import annotations

from sqlalchemy import BindParameter, ColumnElement, FromClause, and_, or_


def holds(valid_from: int, valid_to: int | None, version: int) -> bool:
    """Whether a row with these values holds in a version."""
    return valid_from <= version and (valid_to is None or version < valid_to)


def holds_in(table: FromClause, version: int | BindParameter[int]) -> ColumnElement[bool]:
    """That a row of ``table`` holds in a version."""
    return holds_throughout(table, version, version)


def holds_throughout(
    table: FromClause, first: int | BindParameter[int], last: int | BindParameter[int]
) -> ColumnElement[bool]:
    """That a row of ``table`` holds in every version from ``first`` to ``last``."""
    return and_(table.c.valid_from <= first, or_(table.c.valid_to.is_(None), table.c.valid_to > last))


def is_open(table: FromClause) -> ColumnElement[bool]:
    """That a row of ``table`` holds in the latest version."""
    return table.c.valid_to.is_(None)


def holds_in_sql(alias: str, version: str) -> str:
    """`holds_in` as SQL text. ``version`` is the expression or parameter that gives the version."""
    return f"({alias}.valid_from <= {version} AND ({alias}.valid_to IS NULL OR {alias}.valid_to > {version}))"
