"""The rules of ``filter``: configurations with their work, and the registry of all."""
