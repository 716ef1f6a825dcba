"""Trusting an OpenID provider: its published keys, and whether a token is one of its own."""
