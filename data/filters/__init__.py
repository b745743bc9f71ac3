"""Values that filter rules limit, and edits of texts, over batches."""
