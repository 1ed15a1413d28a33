"""Owns what is kept: the ledger always, MLflow when asked; imports no pytest."""
