"""From measurements to JSON, CSV, HTML and pictures."""
