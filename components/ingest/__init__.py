"""``ingest``: sources become documents with ids, addresses and licences."""
