"""Synthetic cases with a known answer."""
