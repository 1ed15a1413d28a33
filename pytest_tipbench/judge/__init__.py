"""Owns human scores: sheets out, scores in; imports no pytest and no httpx."""
