"""What becomes of access keys after they were made."""
