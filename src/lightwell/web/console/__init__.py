"""The web console: its static files below ``/console/``, and the small API below ``/console/api/``.

A module per noun of the API has its routes (``Route``) in ``ROUTES``; `table` joins them.
"""
