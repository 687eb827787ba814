"""Contracts that the stages share, and the command line on top of them."""

__version__ = "0.1.0"
