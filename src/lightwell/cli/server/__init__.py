"""Verbs that start a server: serve, demo."""
