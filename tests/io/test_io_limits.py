import subprocess
import sys

import psutil
import pytest

import medseg.io
from medseg.errors import GeometryMismatchError, LimitExceededError
from medseg.io.limits import SHARE_OF_MEMORY, Limits


def test_voxel_limit_names_claim_limit_and_setting():
    with pytest.raises(
        LimitExceededError, match=r"1100 × 1100 × 1100 = 1331000000 .* 1000 .*MEDSEG_MAX_VOXELS"
    ):
        Limits(max_voxels=1000).check_header((1100, 1100, 1100), 8, "x.nii")


def test_byte_limit_names_claim_limit_and_setting():
    with pytest.raises(
        LimitExceededError, match=r"0\.008 GB; the limit is 0\.001 GB \(MEDSEG_MAX_ARRAY_BYTES"
    ):
        Limits(max_array_bytes=10**6).check_header((100, 100, 100), 8, "x.nii")


def test_exactly_at_the_limit_passes():
    Limits(max_voxels=1000, max_array_bytes=8000).check_header((10, 10, 10), 8, "x.nii")


def test_default_is_a_quarter_of_memory():
    assert Limits().array_bytes() == int(psutil.virtual_memory().total * SHARE_OF_MEMORY)


@pytest.mark.parametrize("spacing", [(1, 1, 0), (1, 1, -1), (1, float("nan"), 1), (101, 1, 1), (1, 1, 1e-4)])
def test_spacing_that_cannot_be(spacing):
    with pytest.raises(GeometryMismatchError, match="unit in which it was exported"):
        Limits().check_spacing(spacing, "x.nii")


def test_importing_io_is_cheap():
    code = "import sys, medseg.io; print([m for m in ('numpy', 'pydicom', 'SimpleITK') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_loads():
    for name in medseg.io.__all__:
        assert getattr(medseg.io, name) is not None
        assert name in dir(medseg.io)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = medseg.io.nothing
