"""Web pages: main text, extracted in a process of its own with limits."""
