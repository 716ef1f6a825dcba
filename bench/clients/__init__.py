"""What sends requests: load generators, signed and unsigned requests, import jobs."""
