"""The DICOMweb surface below ``/datastore/{id}``: what lies there, and who answers."""
