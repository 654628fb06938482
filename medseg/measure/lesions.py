"""How many lesions a label has, and how much of them."""

from __future__ import annotations

from medseg.instances.instance import InstanceMap
from medseg.measure.measurement import Measurement
from medseg.measure.volumetry import SINGLE_SLICE
from medseg.spatial.labels import Label

_COUNT = "number of the label's instances"
_LOAD = "lesion load: sum of the volumes of the label's instances"


def lesion_load(label: Label, instances: InstanceMap) -> list[Measurement]:
    """Count and summed volume of a label's instances, as measurements of the label as a whole.

    Instances that were left out when the label was taken apart, such as small ones, are in neither. A label
    of kind ``thing`` without instances has 0 of both.

    Args:
        label: any of the map's labels.
        instances: all objects of the case.

    Returns:
        ``lesion_count`` and ``lesion_load_ml``; nothing for a label that is not counted in objects.
    """
    own = [instance for instance in instances.instances if instance.label == label.name]
    if not own and label.kind != "thing":
        return []
    reason = None
    if not instances.geometry.calibrated:
        reason = "pixel size unknown"
    elif instances.geometry.shape[2] == 1:
        reason = SINGLE_SLICE
    load = None if reason else sum(instance.volume_ml or 0.0 for instance in own)
    return [
        Measurement("lesion_count", float(len(own)), "1", label.name, method=_COUNT),
        Measurement("lesion_load_ml", load, "ml", label.name, reason=reason, method=_LOAD),
    ]
