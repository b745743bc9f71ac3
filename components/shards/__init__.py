"""Maps functions over shards with Beam, and adds up the decisions on documents."""
