"""What is damaged, and how far runs of `data verify` have got."""
