"""Few-shot training: shots as batches, one loop, checkpoints that survive a kill, a report."""
