"""Schroedinger and diffusion equations on a grid."""
