"""lightwell: the open, self-hosted medical image store that speaks the AWS HealthImaging API."""

__version__ = "0.1.0"
