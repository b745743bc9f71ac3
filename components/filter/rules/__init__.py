"""The rules, a file for each: the spec's configuration and how it is applied to documents."""
