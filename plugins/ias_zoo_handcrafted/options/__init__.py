"""Hyper-parameters of the hand-crafted methods. Nothing heavy is imported here: `ias-zoo info` reads it."""
