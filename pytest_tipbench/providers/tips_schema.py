"""Owns the form of answer that every provider asks for; imports nothing of ours."""

from __future__ import annotations

from typing import Any

LONGEST_TIP_CHARACTERS = 280
"""What is asked for; a longer tip is still a tip."""


def tips_schema(n_tips: int) -> dict[str, Any]:
    """Return the JSON schema of an answer: an object with exactly ``n_tips`` short strings."""
    return {
        "type": "object",
        "properties": {
            "tips": {
                "type": "array",
                "items": {"type": "string", "maxLength": LONGEST_TIP_CHARACTERS},
                "minItems": n_tips,
                "maxItems": n_tips,
            }
        },
        "required": ["tips"],
        "additionalProperties": False,  # OpenAI's strict mode needs it said
    }
