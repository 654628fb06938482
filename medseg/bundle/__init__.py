"""A MONAI bundle as data: metadata, configuration, weights; its code is never run."""
