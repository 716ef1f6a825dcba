"""The project's own benchmarks: lightwell beside Orthanc and nginx, in one run, on one machine."""
