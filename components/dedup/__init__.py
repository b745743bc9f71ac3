"""``dedup``: exact and near duplicates of whole documents; one of each cluster stays."""
