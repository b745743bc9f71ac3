"""The training loop: step, optimizer, gradient accumulation, preemption, goodput."""
