"""One module a scenario; each has ``run(options) -> list[Outcome]``."""
