"""Schroedinger and diffusion equations on a grid, by fused implicit steps."""

from .propagate import propagate

__all__ = ["propagate"]
