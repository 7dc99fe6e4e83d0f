"""Evaluation: fidelity, diversity, mask fit, and the gain for a detector trained on the result."""
