"""Files that the scenarios import, and data folders filled in advance: made once, always the same."""
