"""The lineage index: a cache of the store's manifests, in SQLite and arrays."""
