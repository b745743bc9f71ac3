"""Documents on disk: shards, ids, decisions, choices by a keyed hash, exchange between shards."""
