"""One function over many items; knows nothing about images."""
