"""A prediction against a reference."""
