"""What is measured over a long time."""
