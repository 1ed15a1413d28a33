"""Gives every test of this repository pytest's own test fixture."""

pytest_plugins = ["pytester"]
