"""What a browser is shown: the page at ``/``, and OHIF below ``/ohif/``."""
