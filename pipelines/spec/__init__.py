"""The spec: its models, its check, the places of its mistakes, and specs made by ``millrace init``."""
