"""One network, loaded once, for many cases."""
