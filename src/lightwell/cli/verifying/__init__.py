"""What `lightwell data verify` prints."""
