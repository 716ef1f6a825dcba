"""All settings, in groups; each extends the one before, so that the reference lists them in one order."""
