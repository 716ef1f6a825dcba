"""What a check raises for something that works but that a person should know about."""


class DoctorWarning(Exception):
    """Shown as a warning; the exit code stays 0."""
