"""The store: artifacts addressed by content, records of stages and runs, on any file system."""
