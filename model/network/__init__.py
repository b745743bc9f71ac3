"""The decoder: its configuration and presets, attention, experts, norms."""
