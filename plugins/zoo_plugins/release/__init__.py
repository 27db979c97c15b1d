"""Weights of the built-in colorizers that come along; docs/release.md is their card."""
