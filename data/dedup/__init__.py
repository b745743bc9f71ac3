"""Duplicates: normal forms, MinHash signatures and clusters of documents; repeats inside them."""
