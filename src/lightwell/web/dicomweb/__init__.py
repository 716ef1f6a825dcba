"""The DICOMweb resources below ``/datastore/{id}``, and the handlers that respond to them."""
