"""pytest-tipbench: an evaluation bench for small local language models, inside pytest.

``-p pytest_tipbench`` (or ``pytest_plugins``) switches the bench on through the name below;
importing this package imports nothing else.
"""

pytest_plugins = ["pytest_tipbench.plugin"]

__version__ = "0.1.0"
