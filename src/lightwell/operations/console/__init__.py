"""What the console's API does, as plain functions."""
