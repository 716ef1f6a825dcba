"""Bytes under a key: how packs, blobs and documents are encrypted, and who keeps the key of the keys."""
