"""``decontaminate``: training documents that repeat benchmark examples are dropped or cut."""
