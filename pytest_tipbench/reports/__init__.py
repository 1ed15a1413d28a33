"""Owns what people read of a board; imports no pytest and no httpx."""
