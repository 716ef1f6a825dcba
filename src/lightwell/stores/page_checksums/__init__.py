"""Checksums of the database's own pages: SQLite's by a VFS that this loads, PostgreSQL's as it is set up."""
