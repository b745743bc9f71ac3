"""How data stages map functions over shards with Beam, and add up what was done to documents."""
