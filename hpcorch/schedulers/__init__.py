"""Batch systems: each module turns requests into command lines and their output into data."""
