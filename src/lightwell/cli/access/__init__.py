"""Verbs about who may do what: key, role, policy, authorizer."""
