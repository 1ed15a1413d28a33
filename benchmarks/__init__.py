"""Measures the bench against named peers, as ratios within one run."""
