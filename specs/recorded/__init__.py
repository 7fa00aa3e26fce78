"""Recordings of a real kernel: its state before and after, every event between, and the model run beside it."""
