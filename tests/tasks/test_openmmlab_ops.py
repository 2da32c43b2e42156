"""When the stand-in for mmcv's compiled ops answers, what it refuses, and a detector on it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tasks.openmmlab.ops
from tasks.openmmlab.ops import install, missing_ops
from tasks.openmmlab.ops.missing import CALLS

install()
import mmcv.ops  # noqa: E402  needs the stand-in

OPS = Path(mmcv.ops.__file__).parent


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_install_adds_one_finder_that_answers_for_one_name():
    before = list(sys.meta_path)
    install()
    install()
    assert sys.meta_path == before
    (ours,) = (f for f in sys.meta_path if type(f).__module__ == "tasks.openmmlab.ops.finder")
    assert ours.find_spec("mmcv._ext", None) is not None
    assert ours.find_spec("mmcv._ext.more", None) is None
    assert ours.find_spec("mmcv", None) is None


def test_installing_loads_neither_torch_nor_mmcv():
    code = """
import sys
from tasks.openmmlab.ops import install
install()
print({"torch", "mmcv"} & set(sys.modules))
"""
    assert run_python(code) == "set()"


def test_a_compiled_mmcv_keeps_its_ops(tmp_path):
    (tmp_path / "_ext.py").write_text(
        "def __getattr__(name):\n"
        "    if name.startswith('__'): raise AttributeError(name)\n"
        "    return lambda *args, **kwargs: 'compiled ' + name\n"
    )
    code = f"""
import tasks.openmmlab.ops
from tasks.openmmlab.ops import install, missing_ops
install()
import mmcv
mmcv.__path__.append({str(tmp_path)!r})
from mmcv.ops import PSAMask, get_compiler_version
print(get_compiler_version(), missing_ops(PSAMask("collect", (3, 3))))
"""
    assert run_python(code) == "compiled get_compiler_version []"


def test_a_torchvision_that_does_not_fit_is_one_clear_sentence(tmp_path):
    folder = tmp_path / "torchvision"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('torchvision::nms does not exist')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from tasks.openmmlab.ops import install
install()
try:
    import mmdet.models
except ImportError as error:
    print(error)
"""
    message = run_python(code)
    assert "install a pair that belongs together" in message
    assert "torchvision::nms does not exist" in message


def test_the_stand_in_imports_nothing_of_the_project():
    folder = Path(tasks.openmmlab.ops.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            assert not {name.split(".")[0] for name in names} & {"benchmarks", "methods", "tasks"}


def test_an_op_without_stand_in_raises_its_name_when_called():
    with pytest.raises(NotImplementedError, match=r"'nms_rotated' of mmcv.*build mmcv"):
        mmcv.ops.nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5)


def test_the_version_strings_claim_no_compiler():
    from mmcv.utils import collect_env

    assert "stand-in" in mmcv.ops.get_compiler_version()
    assert "stand-in" in collect_env()["MMCV CUDA Compiler"]


@pytest.mark.parametrize(
    ("layer", "missing"),
    [
        (lambda: mmcv.ops.CARAFEPack(4, 2), ["carafe_forward (CARAFEPack)"]),
        (lambda: mmcv.ops.PSAMask("collect", (3, 3)), ["psamask_forward (PSAMask)"]),
        (lambda: mmcv.ops.MaskedConv2d(4, 4, 3), ["masked_im2col_forward (MaskedConv2d)"]),
        (
            lambda: mmcv.ops.RoIAlign(7, pool_mode="max"),
            ["roi_align_forward with pool_mode='max' (RoIAlign)"],
        ),
        (lambda: mmcv.ops.RoIAlign(7), []),
        (lambda: mmcv.ops.ModulatedDeformConv2dPack(4, 4, 3), []),
        (lambda: mmcv.ops.CornerPool("top"), []),
        (lambda: mmcv.ops.MultiScaleDeformableAttention(32, 4), []),
        (lambda: torch.nn.Conv2d(4, 4, 3), []),
    ],
)
def test_missing_ops_names_the_op_and_the_layer(layer, missing):
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Sequential(layer()))
    assert missing_ops(model) == missing


def test_missing_ops_knows_a_layer_by_its_base_class():
    class Derived(mmcv.ops.PSAMask):
        pass

    model = torch.nn.Sequential(Derived("collect", (3, 3)), mmcv.ops.SubMConv2d(2, 2, 3))
    names = ["indice_conv_forward (SparseConvolution)", "psamask_forward (PSAMask)"]
    assert missing_ops(model) == names


def test_every_layer_of_a_file_with_compiled_ops_is_in_the_table():
    plain_torch = {"GroupAll"}
    classes, needing = {}, []
    for path in OPS.glob("*.py"):
        source = path.read_text()
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = [ast.unparse(base).split(".")[-1] for base in node.bases]
                if "load_ext" in source:
                    needing.append(node.name)

    def is_layer(name):
        return name in {"Module", "BaseModule", "Conv2d"} or any(
            is_layer(base) for base in classes.get(name, [])
        )

    def is_known(name):
        return name in CALLS or any(is_known(base) for base in classes.get(name, []))

    layers = [name for name in needing if is_layer(name) and name not in plain_torch]
    assert len(layers) > 20
    assert [name for name in layers if not is_known(name)] == []
    assert set(CALLS) <= set(classes)


@pytest.fixture(scope="module")
def faster_rcnn():
    """mmdet's Faster R-CNN, narrow enough for a test, with random weights."""
    import mmdet
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine import Config
    from mmengine.registry import DefaultScope

    register_all_modules(init_default_scope=False)
    shipped = Path(mmdet.__file__).parent / ".mim/configs/_base_/models/faster-rcnn_r50_fpn.py"
    config = Config.fromfile(shipped).model
    config.backbone.update(base_channels=8, init_cfg=None)
    config.neck.update(in_channels=[32, 64, 128, 256], out_channels=16)
    config.rpn_head.update(in_channels=16, feat_channels=16)
    config.roi_head.bbox_roi_extractor.out_channels = 16
    config.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=3)
    config.test_cfg.rcnn.score_thr = 0.0
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config)
        model.init_weights()
        yield model


def test_faster_rcnn_trains_and_predicts(faster_rcnn):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    assert missing_ops(faster_rcnn) == []
    sample = DetDataSample(
        metainfo={"img_shape": (96, 96), "ori_shape": (96, 96), "scale_factor": (1.0, 1.0)}
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 40], [30, 20, 90, 70]]), labels=torch.tensor([0, 2])
    )
    image = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
    batch = faster_rcnn.data_preprocessor({"inputs": [image], "data_samples": [sample]}, True)
    losses = faster_rcnn(**batch, mode="loss")
    total = faster_rcnn.parse_losses(losses)[0]
    total.backward()
    assert torch.isfinite(total)
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "acc"}
    grads = [p.grad for p in faster_rcnn.roi_head.parameters()]
    assert all(torch.isfinite(grad).all() for grad in grads)
    # The box head reaches the neck through RoIAlign's gradient alone.
    faster_rcnn.zero_grad()
    losses = faster_rcnn(**batch, mode="loss")
    (losses["loss_cls"] + losses["loss_bbox"]).backward()
    assert faster_rcnn.neck.fpn_convs[0].conv.weight.grad.abs().sum() > 0

    faster_rcnn.eval()
    with torch.no_grad():
        batch = faster_rcnn.data_preprocessor({"inputs": [image], "data_samples": [sample]})
        found = faster_rcnn(**batch, mode="predict")[0].pred_instances
    assert 0 < len(found) <= 100
    assert found.bboxes.min() >= 0
    assert found.bboxes.max() <= 96
    assert (found.scores.diff() <= 0).all()
