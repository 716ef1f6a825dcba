"""How a figure is taken: CPU time, latency, and again where others disturbed it."""
