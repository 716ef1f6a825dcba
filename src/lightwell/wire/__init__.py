"""What the service model says about bytes on the wire; no behaviour, no I/O.

`matching` finds the operation for a request line, `parse` makes its request Struct, and `render` turns its
response into bytes. `shapes` and `routes` are generated from botocore's model by tools/sync_model.py.

As in the service, unknown members of a body and unknown names in a query are ignored, and null is the same
as absent.
"""
