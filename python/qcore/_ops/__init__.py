"""Torch operators over the compiled kernels: a module per kernel family; `_register` is shared by all."""
