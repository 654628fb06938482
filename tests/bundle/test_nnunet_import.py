"""nnU-Net result folders become bundles; whatever asks for code is refused and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.bundle.bundle import load_bundle, resolve_parts
from medseg.bundle.importers.checkpoint import read_checkpoint
from medseg.bundle.importers.nnunet import ImportOptions, import_nnunet
from medseg.bundle.verify import verify_bundle
from medseg.cli.main import main
from medseg.errors import (
    BundleError,
    BundleNotFoundError,
    ConfigurationError,
    GeometryMismatchError,
    InvalidBundleError,
    UntrustedBundleError,
)
from medseg.inference.predictor import Predictor, PredictorOptions
from medseg.io.read import read_segmentation
from medseg.io.write import write_volume
from medseg.modeling.inferers import SpreadWindowInferer
from medseg.modeling.nnunet_transforms import RestoreNnunetLabelsd, ToNnunetGridd
from medseg.spatial import Case, Geometry, Volume


def _imported(folder, out, **options):
    return import_nnunet(folder.write(), out, ImportOptions(**options))


def _refused(folder, out, says, error=InvalidBundleError, *, write=True):
    path = folder.write() if write else folder.path
    with pytest.raises(error, match=says):
        import_nnunet(path, out)
    assert not out.exists() or not list(out.iterdir()), "nothing was imported"


def _case(shape=(14, 11, 9), spacing=(1.0, 1.0, 1.0), seed=0):
    geometry = Geometry(np.diag([*spacing, 1.0]), shape)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Case("a", {"image": Volume(values, geometry)})


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("configuration", ["3d_fullres", "3d_lowres", "2d"])
def test_gives_a_bundle_that_runs(make_nnunet_folder, tmp_path, configuration, residual):
    folder = make_nnunet_folder(configuration, residual=residual)
    path = _imported(folder, tmp_path / "bundles")
    assert path.name == f"twin_boxes_mr_nnunet_{configuration}"
    result = verify_bundle(path)
    assert result.passed, [check for check in result.checks if not check.passed]
    bundle = load_bundle(path)
    parts = resolve_parts(bundle)
    assert bundle.trust == "data" and [label.name for label in bundle.label_table] == ["front", "back"]
    assert parts.mirror_axes == ((1, 2) if configuration == "2d" else (0, 1, 2))
    theirs, window = folder.network(), torch.randn(2, 1, *[8] * folder.dims)
    ours = parts.network(window[:, :, None] if configuration == "2d" else window)
    with torch.no_grad():
        torch.testing.assert_close(ours.reshape(2, 3, *[8] * folder.dims), theirs(window))
    for options in (PredictorOptions(), PredictorOptions(tta=True)):
        labels = Predictor(bundle, options).predict(_case()).segmentation.labels
        assert labels.shape == (14, 11, 9) and labels.any()


def test_takes_the_mean_of_the_folds(nnunet_folder, tmp_path):
    nnunet_folder.folds = {"fold_0": 0, "fold_1": 1, "fold_all": 2}
    path = _imported(nnunet_folder, tmp_path / "bundles")
    window = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        expected = (nnunet_folder.network(0)(window) + nnunet_folder.network(1)(window)) / 2
        torch.testing.assert_close(resolve_parts(load_bundle(path)).network(window), expected)
    one = _imported(nnunet_folder, tmp_path / "bundles", name="one", folds=("1",))
    with torch.no_grad():
        torch.testing.assert_close(
            resolve_parts(load_bundle(one)).network(window), nnunet_folder.network(1)(window)
        )
    assert (
        verify_bundle(path).passed and "fold 1: checkpoint_final.pth" in (path / "docs/README.md").read_text()
    )


def test_takes_the_fold_of_all_data_where_it_is_alone(nnunet_folder, tmp_path):
    nnunet_folder.folds = {"fold_all": 0}
    assert verify_bundle(_imported(nnunet_folder, tmp_path / "bundles")).passed


def test_takes_the_best_checkpoint_where_the_final_one_is_missing(nnunet_folder, tmp_path):
    fold = nnunet_folder.write() / "fold_0"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
    path = import_nnunet(nnunet_folder.path, tmp_path / "bundles")
    assert "checkpoint_best.pth" in (path / "docs/README.md").read_text()


def test_strips_prefixes_of_wrapped_networks(nnunet_folder, tmp_path):
    weights = {f"_orig_mod.module.{key}": value for key, value in nnunet_folder.weights().items()}
    nnunet_folder.checkpoint = {"network_weights": weights}
    assert verify_bundle(_imported(nnunet_folder, tmp_path / "bundles")).passed


@pytest.mark.parametrize("residual", [False, True])
def test_reads_plans_of_older_versions(make_nnunet_folder, tmp_path, residual):
    folder = make_nnunet_folder(residual=residual)
    folder.arguments["features_per_stage"] = [4, 8]
    expected = folder.network()
    folder.checkpoint = {"network_weights": folder.weights()}
    given = folder.chosen.pop("architecture")["arch_kwargs"]
    folder.chosen.update(
        {
            "UNet_class_name": "ResidualEncoderUNet" if residual else "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 320,
            "conv_kernel_sizes": given["kernel_sizes"],
            "pool_op_kernel_sizes": given["strides"],
            "n_conv_per_stage_encoder": given.get("n_blocks_per_stage") or given["n_conv_per_stage"],
            "n_conv_per_stage_decoder": [2],
            "num_pool_per_axis": [1, 1, 1],
        }
    )
    path = _imported(folder, tmp_path / "bundles")
    window = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(resolve_parts(load_bundle(path)).network(window), expected(window))


def test_inherits_configurations(nnunet_folder, tmp_path):
    nnunet_folder.plans["configurations"]["base"] = nnunet_folder.plans["configurations"].pop("3d_fullres")
    nnunet_folder.plans["configurations"]["3d_fullres"] = {"inherits_from": "base", "batch_size": 4}
    nnunet_folder.checkpoint = {"network_weights": _weights_of_base(nnunet_folder)}
    assert verify_bundle(_imported(nnunet_folder, tmp_path / "bundles")).passed


def _weights_of_base(folder):
    folder.configuration = "base"
    weights = folder.weights()
    folder.configuration = "3d_fullres"
    return weights


def test_regions_paint_over_each_other(nnunet_folder, tmp_path):
    nnunet_folder.dataset["labels"] = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    nnunet_folder.dataset["regions_class_order"] = [1, 2]
    nnunet_folder.checkpoint = {"network_weights": _two_outputs(nnunet_folder)}
    path = _imported(nnunet_folder, tmp_path / "bundles")
    assert verify_bundle(path).passed
    bundle = load_bundle(path)
    assert {label.index: label.name for label in bundle.label_table} == {1: "whole (rest)", 2: "core"}
    case = _case((8, 8, 8))
    predictor = Predictor(bundle)
    labels = predictor.predict(case).segmentation.labels
    values = case.channels["image"].array
    window = torch.from_numpy((values - values.mean()) / values.std()).permute(2, 1, 0)[None, None]
    with torch.no_grad():
        logits = predictor.parts.network(window)[0].permute(0, 3, 2, 1).numpy()
    expected = np.where(logits[1] > 0, 2, np.where(logits[0] > 0, 1, 0))
    assert (labels == expected).mean() > 0.999 and len(np.unique(labels)) == 3


def _two_outputs(folder):
    labels, folder.dataset["labels"] = folder.dataset["labels"], {"background": 0, "a": 1, "b": 2}
    weights = folder.weights(4)
    folder.dataset["labels"] = labels
    return weights


def test_ct_keeps_the_training_statistics(nnunet_folder, tmp_path):
    nnunet_folder.dataset["channel_names"] = {"0": "CT"}
    nnunet_folder.chosen["normalization_schemes"] = ["CTNormalization"]
    nnunet_folder.plans["image_reader_writer"] = "NibabelIOWithReorient"
    path = _imported(nnunet_folder, tmp_path / "bundles")
    parts = resolve_parts(load_bundle(path))
    assert path.name == "twin_boxes_ct_nnunet_3d_fullres" and parts.grid.orientation == "RAS"
    assert parts.prepare(torch.tensor([[[[-9.0, 2.0, 5.0, 99.0]]]])).tolist() == [[[[-2.0, 0.0, 1.0, 2.0]]]]


def test_pictures_count_in_pixels(make_nnunet_folder, tmp_path):
    folder = make_nnunet_folder("2d")
    folder.plans["image_reader_writer"] = "NaturalImage2DIO"
    folder.dataset |= {"channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png"}
    folder.chosen.update(normalization_schemes=["RGBTo01Normalization"] * 3, use_mask_for_norm=[False] * 3)
    path = _imported(folder, tmp_path / "bundles", modality="microscopy", name="cells_microscopy_unet")
    bundle = load_bundle(path)
    geometry = Geometry(np.eye(4), (20, 13, 1), calibrated=False)
    image = np.random.default_rng(0).integers(0, 256, (20, 13, 1), dtype=np.uint8)
    case = Case("a", {name: Volume(image, geometry) for name in "RGB"})
    assert bundle.metadata.dims == 2
    assert Predictor(bundle).predict(case).segmentation.labels.shape == (20, 13, 1)


# Refusals


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_refuses_a_folder_without_its_files(nnunet_folder, tmp_path, name):
    (nnunet_folder.write() / name).unlink()
    _refused(nnunet_folder, tmp_path / "out", f"has no {name}", BundleNotFoundError, write=False)


def test_refuses_missing_folds_and_files(nnunet_folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(BundleNotFoundError, match="is no folder"):
        import_nnunet(tmp_path / "nowhere", out)
    path = nnunet_folder.write()
    with pytest.raises(BundleNotFoundError, match="has no fold 3; there are: 0"):
        import_nnunet(path, out, ImportOptions(folds=("3",)))
    (path / "fold_0" / "checkpoint_final.pth").unlink()
    _refused(nnunet_folder, out, "neither fold_0/checkpoint_final.pth nor", BundleNotFoundError, write=False)
    (path / "fold_0").rmdir()
    _refused(nnunet_folder, out, "no fold at all", BundleNotFoundError, write=False)


class _Poison:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        (_Poison(), "asks for posix.system"),
        (io.BytesIO, "asks for _io.BytesIO"),
        (getattr, "asks for (__builtin__|builtins).getattr"),
        (np.random.default_rng, "asks for numpy"),
    ],
)
def test_refuses_a_poisoned_pickle(nnunet_folder, tmp_path, capsys, poison, says):
    nnunet_folder.checkpoint = {"logging": poison}
    _refused(nnunet_folder, tmp_path / "out", says, UntrustedBundleError)
    assert main(["bundle", "import", str(nnunet_folder.path), "-o", str(tmp_path / "out")]) == 4
    assert "nothing was imported" in capsys.readouterr().err


def test_nothing_beside_the_weights_is_built(nnunet_folder):
    checkpoint = read_checkpoint(nnunet_folder.write() / "fold_0" / "checkpoint_final.pth", "x")
    assert (checkpoint.trainer, checkpoint.configuration) == ("nnUNetTrainer", "3d_fullres")
    key, claim = next(iter(checkpoint.weights.items()))
    assert torch.equal(checkpoint.tensor(claim), nnunet_folder.weights()[key])


def _rewritten(path, change):
    """The archive with another pickle, or with records changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(entries).items():
            archive.writestr(name, content)


def _pickled(weights_pickle):
    """A pickle of a checkpoint whose only tensor is given by opcodes."""
    return lambda entries: {
        name: weights_pickle if name.endswith("data.pkl") else content for name, content in entries.items()
    }


def _tensor_pickle(count=4, start=0, shape=(4,), stride=(1,), key="0", storage="FloatStorage", build=b""):
    def plain(value):
        return pickle.dumps(value, 2)[2:-1]

    storage_global = b"ctorch\n" + storage.encode() + b"\n"
    record = b"(" + plain("storage") + storage_global + plain(key) + plain("cpu") + plain(count) + b"tQ"
    arguments = b"(" + record + plain(start) + plain(shape) + plain(stride) + b"\x89}t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R" + build
    rest = plain("init_args") + plain({"configuration": "3d_fullres"}) + plain("trainer_name") + plain("T")
    return b"\x80\x02}(" + plain("network_weights") + b"}" + plain("w") + tensor + b"s" + rest + b"u."


def test_reads_a_tensor_given_by_opcodes(nnunet_folder):
    path = nnunet_folder.write() / "fold_0" / "checkpoint_final.pth"
    _rewritten(path, _pickled(_tensor_pickle()))
    claim = read_checkpoint(path, "x").weights["w"]
    assert claim.shape == (4,) and claim.dtype is torch.float32


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"count": 10**12}, "claims 4,000,000,000,000 bytes but the file holds"),
        ({"key": "999"}, "claims 16 bytes but the file holds 0"),
        ({"key": "../0"}, "claims 16 bytes but the file holds 0"),
        ({"shape": (10**12,)}, "reaches beyond its record"),
        ({"shape": (10**12,), "stride": (0,)}, "reaches beyond its record"),
        ({"start": 1}, "reaches beyond its record"),
        ({"start": -1}, "negative length"),
        ({"shape": (2, 2)}, "as torch.save does not"),
        ({"shape": [4]}, "as torch.save does not"),
        ({"count": -1}, "names a record as torch.save does not"),
        ({"storage": "QUInt8Storage"}, "asks for torch.QUInt8Storage"),
    ],
)
def test_refuses_claims_beyond_the_file(nnunet_folder, tmp_path, changes, says):
    _rewritten(nnunet_folder.write() / "fold_0" / "checkpoint_final.pth", _pickled(_tensor_pickle(**changes)))
    _refused(nnunet_folder, tmp_path / "out", says, BundleError, write=False)


def test_a_pickle_cannot_change_what_was_checked(nnunet_folder):
    path = nnunet_folder.write() / "fold_0" / "checkpoint_final.pth"
    state = ["data/1", "float32", 0, (10**9,), (1,)]
    _rewritten(path, _pickled(_tensor_pickle(build=pickle.dumps(state, 2)[2:-1] + b"b")))
    assert read_checkpoint(path, "x").weights["w"].shape == (4,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the pickle step"),
        (b"\x80\x02\x82\x01.", "the pickle step EXT1"),
        (b"\x80\x02(ios\nsystem\n.", "the pickle step INST"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", "more than 1,000,000 steps"),
        (b"\x80\x02", "damaged pickle"),
        (b"\x80\x02N.", "holds NoneType"),
        (b"\x80\x02}.", "no network_weights"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "fills a mapping"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01K\x02s.", "cannot be read"),
    ],
)
def test_refuses_odd_pickles(nnunet_folder, tmp_path, content, says):
    _rewritten(nnunet_folder.write() / "fold_0" / "checkpoint_final.pth", _pickled(content))
    _refused(nnunet_folder, tmp_path / "out", says, BundleError, write=False)


def test_refuses_other_files(nnunet_folder, tmp_path):
    file = nnunet_folder.write() / "fold_0" / "checkpoint_final.pth"
    whole = file.read_bytes()
    for content, says in (
        (whole[: len(whole) // 2], "not a whole checkpoint"),
        (pickle.dumps({"network_weights": 1}), "not a whole checkpoint"),
        (b"", "not a whole checkpoint"),
    ):
        file.write_bytes(content)
        _refused(nnunet_folder, tmp_path / "out", says, write=False)
    file.write_bytes(whole)
    _rewritten(file, lambda entries: {name: v for name, v in entries.items() if "data.pkl" not in name})
    _refused(nnunet_folder, tmp_path / "out", "not a checkpoint", write=False)


def test_refuses_flipped_bytes(nnunet_folder, tmp_path):
    file = nnunet_folder.write() / "fold_0" / "checkpoint_final.pth"
    with zipfile.ZipFile(file) as archive:
        place = archive.getinfo("checkpoint_final/data/0").header_offset
    content = bytearray(file.read_bytes())
    name, extra = (int.from_bytes(content[place + at : place + at + 2], "little") for at in (26, 28))
    content[place + 30 + name + extra + 3] ^= 255
    file.write_bytes(content)
    _refused(nnunet_folder, tmp_path / "out", "damaged|cannot be read|whole checkpoint", write=False)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network_weights": {}}, "no network_weights"),
        ({"network_weights": {"w": 3}}, "no tensor with a name"),
        ({"init_args": None}, "does not tell its trainer_name"),
        ({"init_args": {"configuration": "2d"}}, "tell different configurations"),
        ({"inference_allowed_mirroring_axes": (0, 7)}, "are not axes"),
    ],
)
def test_refuses_checkpoints_that_lack_something(nnunet_folder, tmp_path, changes, says):
    nnunet_folder.checkpoint = changes
    _refused(nnunet_folder, tmp_path / "out", says)


def test_refuses_weights_of_another_network(nnunet_folder, make_nnunet_folder, tmp_path):
    weights = nnunet_folder.weights()
    out = tmp_path / "out"
    first = next(iter(weights))
    broken = torch.full_like(weights[first], np.nan)
    for other, says in (
        ({key: value for key, value in weights.items() if "seg_layers" not in key}, "missing"),
        (weights | {"decoder.extra.weight": torch.zeros(1)}, "not in the network"),
        (make_nnunet_folder(residual=True).weights(), "another network"),
        ({key: value.double() for key, value in weights.items()}, "of another number type"),
        ({key: value[:1] for key, value in weights.items()}, "of another shape"),
        (weights | {first: weights[first] + 1}, "twice with different values"),
        ({key: broken if value is weights[first] else value for key, value in weights.items()}, "NaN"),
    ):
        nnunet_folder.checkpoint = {"network_weights": other}
        _refused(nnunet_folder, out, says)


def _set(path, value):
    """A change of the plans, by the place in them."""

    def change(folder):
        *way, last = path
        node = folder.plans if way[:1] != ["data"] else folder.dataset
        for key in way[1:] if way[:1] == ["data"] else way:
            node = node[key]
        node[last] = value

    return change


FULL = ("configurations", "3d_fullres")
ARCHITECTURE = (*FULL, "architecture")
KWARGS = (*ARCHITECTURE, "arch_kwargs")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set([*ARCHITECTURE, "network_class_name"], "os.system"), "names the network class 'os.system'"),
        (_set([*ARCHITECTURE, "network_class_name"], ["x"]), "names the network class"),
        (_set([*KWARGS, "conv_op"], "os.system"), "names the convolution 'os.system'"),
        (_set([*KWARGS, "norm_op"], "torch.nn.BatchNorm3d"), "names the norm"),
        (_set([*KWARGS, "nonlin"], "builtins.eval"), "names the activation"),
        (_set([*FULL, "preprocessor_name"], "Evil"), "preprocessor_name is 'Evil'"),
        (_set([*FULL, "resampling_fn_data"], "resample_torch_simple"), "resampling_fn_data is"),
        (_set([*FULL, "normalization_schemes"], ["Mine"]), "scheme 'Mine' is not known"),
        (_set(["image_reader_writer"], "Tiff3DIO"), "image_reader_writer is 'Tiff3DIO'"),
        (_set(["label_manager"], "Mine"), "label_manager is 'Mine'"),
        (_set(["dataset_name"], "../../x"), "dataset_name is '../../x'"),
        (_set(["dataset_name"], "/x"), "dataset_name is '/x'"),
        (_set(["plans_name"], "a/b"), "plans_name"),
        (_set(["data", "file_ending"], "/../x"), "file_ending"),
    ],
)
def test_refuses_plans_that_name_code_or_places(nnunet_folder, tmp_path, change, says):
    change(nnunet_folder)
    _refused_with_good_weights(nnunet_folder, tmp_path / "out", says, UntrustedBundleError)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set([*FULL, "previous_stage"], "3d_lowres"), "second stage of a cascade after '3d_lowres'"),
        (_set([*FULL, "inherits_from"], "3d_fullres"), "inherits from itself"),
        (_set([*FULL, "inherits_from"], "nowhere"), "no configuration 'nowhere'"),
        (_set([*FULL, "patch_size"], [8, 8]), "for a window of 2 axes"),
        (_set([*FULL, "spacing"], [1.0, 1.0]), "2 spacings for a window of 3 axes"),
        (_set([*FULL, "patch_size"], [8, 8, 9]), "cannot be halved"),
        (_set([*FULL, "spacing"], [0.0, 1.0, 1.0]), "spacing"),
        (_set([*FULL, "use_mask_for_norm"], []), "0 use_mask_for_norm for 1 channels"),
        (
            _set([*FULL, "resampling_fn_probabilities_kwargs"], {"order": 3}),
            "results are resampled with order 3",
        ),
        (_set([*FULL, "resampling_fn_data_kwargs"], {"order_z": 1}), "order_z"),
        (_set(["transpose_backward"], [1, 2, 0]), "do not undo each other"),
        (_set(["transpose_forward"], [0, 0, 0]), "do not undo each other"),
        (_set([*KWARGS, "conv_bias"], False), "conv_bias"),
        (_set([*KWARGS, "nonlin_first"], True), "nonlin_first is not one that medseg knows"),
        (_set([*KWARGS, "n_stages"], 3), "expected 3"),
        (_set([*KWARGS, "strides"], [[1, 1], [2, 2]]), "need 3 numbers"),
        (_set([*KWARGS, "kernel_sizes"], [[2, 2, 2], [3, 3, 3]]), "kernel is even"),
        (_set([*KWARGS, "norm_op_kwargs"], {"eps": 0.1, "affine": True}), "eps"),
        (_set([*ARCHITECTURE], 3), "expected a mapping"),
        (_set(["data", "channel_names"], {"1": "MRI"}), "not numbered 0 to 0"),
        (_set(["data", "labels"], {"background": 1, "a": 2}), "no background of 0"),
        (_set(["data", "labels"], {"background": 0, "a": 1, "b": 3}), "not numbered 1 to 2"),
        (_set(["data", "labels"], {"background": 0, "a": [1, 2]}), "regions_class_order is None"),
    ],
)
def test_refuses_plans_that_do_not_fit(nnunet_folder, tmp_path, change, says):
    change(nnunet_folder)
    _refused_with_good_weights(nnunet_folder, tmp_path / "out", says, InvalidBundleError)


def _refused_with_good_weights(folder, out, says, error):
    good = type(folder)(folder.path.parent)
    folder.checkpoint = {"network_weights": good.weights()}
    _refused(folder, out, says, error)


def test_refuses_ct_without_statistics_and_old_plans_without_a_network(nnunet_folder, tmp_path):
    out = tmp_path / "out"
    del nnunet_folder.plans["foreground_intensity_properties_per_channel"]
    nnunet_folder.chosen["normalization_schemes"] = ["CTNormalization"]
    _refused_with_good_weights(nnunet_folder, out, "no intensities for CTNormalization", InvalidBundleError)
    nnunet_folder.chosen["normalization_schemes"] = ["NoNormalization"]
    del nnunet_folder.chosen["architecture"]
    _refused_with_good_weights(
        nnunet_folder, out, "has no architecture, nor UNet_class_name", InvalidBundleError
    )
    names = ("UNet_base_num_features", "unet_max_num_features", "conv_kernel_sizes", "pool_op_kernel_sizes")
    more = ("n_conv_per_stage_encoder", "n_conv_per_stage_decoder")
    nnunet_folder.chosen.update(dict.fromkeys((*names, *more), "x"), UNet_class_name="os.system")
    _refused_with_good_weights(nnunet_folder, out, "not whole numbers", InvalidBundleError)
    nnunet_folder.chosen.update(
        n_conv_per_stage_encoder=[2, 2], UNet_base_num_features=4, unet_max_num_features=8
    )
    _refused_with_good_weights(nnunet_folder, out, "network class 'os.system'", UntrustedBundleError)


def test_refuses_json_links_out_of_the_folder(nnunet_folder, tmp_path):
    path = nnunet_folder.write()
    (path / "plans.json").rename(tmp_path / "plans.json")
    (path / "plans.json").symlink_to(tmp_path / "plans.json")
    _refused(nnunet_folder, tmp_path / "out", "a link to a file outside", UntrustedBundleError, write=False)


def test_refuses_folds_of_different_trainings(nnunet_folder, tmp_path):
    nnunet_folder.folds = {"fold_0": 0, "fold_1": 1}
    path = nnunet_folder.write()
    content = nnunet_folder.content(1) | {"inference_allowed_mirroring_axes": (0,)}
    torch.save(content, path / "fold_1" / "checkpoint_final.pth")
    _refused(nnunet_folder, tmp_path / "out", "mirroring axes differ", write=False)


def test_names_and_modalities(nnunet_folder, tmp_path):
    nnunet_folder.dataset["channel_names"] = {"0": "intensity"}
    with pytest.raises(ConfigurationError, match="do not tell one modality; give --modality"):
        _imported(nnunet_folder, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="modality 'XX' is not known"):
        _imported(nnunet_folder, tmp_path / "out", modality="XX")
    with pytest.raises(ConfigurationError, match="not one of a bundle"):
        _imported(nnunet_folder, tmp_path / "out", modality="MR", name="../x")
    _imported(nnunet_folder, tmp_path / "out", modality="MR", name="boxes")
    with pytest.raises(ConfigurationError, match="already a bundle boxes"):
        _imported(nnunet_folder, tmp_path / "out", modality="MR", name="boxes")


def test_from_the_command_line(nnunet_folder, tmp_path, capsys):
    out = tmp_path / "bundles"
    command = ["bundle", "import", str(nnunet_folder.write()), "-o", str(out), "--fold", "0"]
    assert main([*command, "--name", "boxes_mr_unet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "boxes_mr_unet"
    assert main(command) == 0
    assert "medseg segment SCAN -b" in capsys.readouterr().out
    assert main([*command, "--fold", "../0"]) == 2
    (nnunet_folder.path / "plans.json").write_text("{")
    assert main([*command, "--name", "other"]) == 4


@pytest.mark.parametrize("kind", ["3d_fullres", "2d", "regions"])
def test_the_parts_for_stock_monai_give_the_same_label_map(make_nnunet_folder, tmp_path, kind):
    folder = make_nnunet_folder("2d" if kind == "2d" else "3d_fullres")
    if kind == "regions":
        folder.dataset["labels"] = {"background": 0, "whole": [1, 2], "core": [2]}
        folder.dataset["regions_class_order"] = [1, 2]
        folder.checkpoint = {"network_weights": _two_outputs(folder)}
    bundle = load_bundle(_imported(folder, tmp_path / "bundles"))
    predictor = Predictor(bundle, PredictorOptions(backend="torch"))
    case = _case((15, 12, 10), (0.8, 0.9, 3.5))
    content, parts = bundle.document.content, predictor.parts
    volume = case.channels["image"]
    image = MetaTensor(
        torch.from_numpy(volume.array.copy())[None], affine=torch.tensor(volume.geometry.affine)
    )
    prepared = ToNnunetGridd("image", content["grid"], parts.prepare)({"image": image})
    given = {key: value for key, value in content["inferer"].items() if key != "_target_"}
    pred = SpreadWindowInferer(**given)(prepared["image"][None], parts.network)[0]
    restore = RestoreNnunetLabelsd("pred", "image", content.get("paint"))
    labels = restore({**prepared, "pred": pred})["pred"]
    mine = predictor.predict(case).segmentation.labels
    assert len(np.unique(mine)) > 1 and (labels[0].numpy() == mine).mean() > 0.999
    with pytest.raises(GeometryMismatchError, match="carries no affine"):
        ToNnunetGridd("image", content["grid"], parts.prepare)({"image": torch.zeros(1, 2, 2, 2)})


@pytest.mark.slow
@pytest.mark.parametrize("configuration", ["3d_fullres", "2d"])
def test_stock_monai_gives_the_same_label_map(make_nnunet_folder, tmp_path, configuration):
    folder = make_nnunet_folder(configuration)
    folder.folds = {"fold_0": 0, "fold_1": 1}
    path = _imported(folder, tmp_path / "bundles")
    case = _case((15, 12, 10), (0.8, 0.9, 3.5))
    write_volume(case.channels["image"], tmp_path / "scan.nii.gz")
    stock = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    stock += ["--image", str(tmp_path / "scan.nii.gz"), "--output_dir", str(tmp_path / "stock")]
    done = subprocess.run(stock, cwd=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = read_segmentation(tmp_path / "stock" / "scan_segmentation.nii.gz")
    options = PredictorOptions(backend="torch")
    mine = Predictor(load_bundle(path), options).predict(case).segmentation
    assert len(np.unique(mine.labels)) > 1 and (mine.labels == theirs.labels).mean() > 0.999
