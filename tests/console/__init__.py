"""The console: its own API."""
