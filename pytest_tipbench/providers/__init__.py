"""One provider a file, behind the protocol of :mod:`pytest_tipbench.providers.base`."""
