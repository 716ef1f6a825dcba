"""Who keeps the key that encrypts the keys of data stores: a file of this server, or a key service."""
