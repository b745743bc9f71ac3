"""Specs that come with Millrace."""
