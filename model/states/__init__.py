"""Training states that outlive a process: checkpoints, kept states, copies in memory, checksums."""
