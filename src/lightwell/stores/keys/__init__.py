"""The keys of data stores: their rows, and what they open."""
