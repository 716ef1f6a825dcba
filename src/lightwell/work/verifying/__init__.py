"""`lightwell data verify`: all that is stored against what proves it, paced, and from where it stopped."""
