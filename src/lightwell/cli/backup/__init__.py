"""Verbs about backups: `lightwell data backup` and `lightwell data restore`."""
