"""What MONAI lacks: networks, heads, transforms and inferers that a bundle may name."""
