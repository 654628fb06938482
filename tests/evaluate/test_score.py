import pytest

from medseg.errors import InputError
from medseg.evaluate.score import Score


def test_a_score_has_a_value_or_a_reason():
    assert Score("dice", 0.5, "liver").value == 0.5
    assert Score("dice", None, "liver", "absent in both").reason == "absent in both"
    with pytest.raises(InputError, match="value or a reason"):
        Score("dice", None, "liver")
    with pytest.raises(InputError, match="value or a reason"):
        Score("dice", 0.5, "liver", "because")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_is_finite(value):
    with pytest.raises(InputError, match="None and a reason"):
        Score("hausdorff_mm", value, "liver")
