"""Owns the memory promise: cap, serial locks, residency; imports no httpx and no pytest."""
