"""What a write transaction leaves for the time before or after it."""
