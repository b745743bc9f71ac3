"""Weights on disk: safetensors, 4 bits, and the package that is served."""

from .package import Package

__all__ = ["Package"]
