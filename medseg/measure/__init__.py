"""Numbers about one segmentation."""
