"""Verbs about what is stored: import, export, sets, data."""
