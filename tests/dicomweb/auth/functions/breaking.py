"""An authorizer that cannot be loaded."""

raise RuntimeError("as I was told")
