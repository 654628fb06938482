"""Medical image segmentation: a scan goes in; segmentation, instances, measurements and a report come out."""

__version__ = "0.1.0"
