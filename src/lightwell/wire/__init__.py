"""What the service model dictates of the bytes on the wire; no behaviour, no I/O.

`matching` finds the operation of a request line, `parse` makes the Struct of its request, `render` the
bytes of its answer. `shapes` and `routes` are generated from botocore's model by tools/sync_model.py.

As the service does, members of a body and names of a query that the model does not know are ignored,
and null is the same as absent.
"""
