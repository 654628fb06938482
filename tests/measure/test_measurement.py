"""A measurement has a value or a reason, never both and never neither."""

import numpy as np
import pytest

from medseg.errors import InputError
from medseg.measure.measurement import Measurement


def test_a_value_or_a_reason():
    assert Measurement("volume_ml", 1.5, "ml", "liver").reason is None
    assert Measurement("volume_ml", None, "ml", "liver", 3, "not present").value is None


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (None, None, "neither a value nor a reason"),
        (None, "", "neither a value nor a reason"),
        (1.0, "why", "a value and a reason for none"),
        (np.nan, None, "is nan; use None"),
        (np.inf, None, "is inf; use None"),
    ],
)
def test_anything_else_is_refused(value, reason, message):
    with pytest.raises(InputError, match=message):
        Measurement("volume_ml", value, "ml", "liver", reason=reason)
