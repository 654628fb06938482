"""From a label map to single objects."""
