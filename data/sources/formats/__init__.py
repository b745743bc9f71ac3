"""File formats: a module for each reads records from a stream."""
