"""Phases of a staged mixture: their configuration, their schedule, the batches that they read."""
