from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint
from torch import Tensor, nn

from tasks.errors import UserError
from tasks.openmmlab.ops import install
from tasks.openmmlab.weights import load_backbone

install()
from mmdet.models import ResNet, SwinTransformer  # noqa: E402
from mmseg.models.backbones import ResNetV1c  # noqa: E402


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    """torchvision's ResNet-18, its running statistics away from 0 and 1."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=10)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 1.5)
    return network.eval()


def stages(network: Any, image: Tensor) -> list[Tensor]:
    """Stage outputs of a torchvision ResNet."""
    x = network.maxpool(network.relu(network.bn1(network.conv1(image))))
    outputs = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)
        outputs.append(x)
    return outputs


def assert_same(backbone: nn.Module, donor: nn.Module) -> None:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    backbone.eval()  # gives None back in mmdet
    with torch.no_grad():
        for ours, theirs in zip(backbone(image), stages(donor, image), strict=True):
            torch.testing.assert_close(ours, theirs)


def save(content: Any, folder: Path, name: str = "weights.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def test_a_torchvision_resnet_gives_equal_stage_outputs(donor: nn.Module, tmp_path: Path) -> None:
    path = save(donor.state_dict(), tmp_path)
    backbone = ResNet(18)
    report = load_backbone(backbone, path)
    assert_same(backbone, donor)
    assert report.file == path
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.loaded == len(backbone.state_dict())
    assert report.missing == report.unexpected == ()


def prefixed(state: dict[str, Tensor], prefix: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((prefix + name, value) for name, value in state.items())


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("module.", None),
        ("backbone.", "state_dict"),
        ("module.backbone.", "state_dict"),
        ("model.", "model"),
    ],
)
def test_wrapped_weights_are_found(
    donor: nn.Module, tmp_path: Path, prefix: str, key: str | None
) -> None:
    state = prefixed(donor.state_dict(), prefix)
    if "backbone." in prefix:
        state[prefix.replace("backbone.", "bbox_head.") + "conv.weight"] = torch.ones(3)
    backbone = ResNet(18)
    report = load_backbone(backbone, save({key: state, "epoch": 3} if key else state, tmp_path))
    assert report.missing == report.unexpected == ()
    assert_same(backbone, donor)


def test_a_checkpoint_of_mmengine_is_read(donor: nn.Module, tmp_path: Path) -> None:
    hub = MessageHub.get_instance("weights of a checkpoint")
    hub.update_scalar("train/loss", np.float64(0.5))
    hub.update_scalar("train/loss", 0.25)
    hub.update_info("iter", 3)
    path = tmp_path / "epoch_1.pth"
    save_checkpoint(
        {
            "meta": {"epoch": 1, "dataset_meta": {"classes": ("a", "b")}},
            "state_dict": prefixed(donor.state_dict(), "backbone."),
            "message_hub": hub.state_dict(),
            "param_schedulers": [{"base_values": [0.1]}],
        },
        str(path),
    )
    backbone = ResNet(18)
    load_backbone(backbone, path)
    assert_same(backbone, donor)


def test_a_deep_stem_is_reported_as_missing(donor: nn.Module, tmp_path: Path) -> None:
    backbone = ResNetV1c(depth=18)
    before = backbone.state_dict()["stem.0.weight"].clone()
    report = load_backbone(backbone, save(donor.state_dict(), tmp_path))
    assert report.missing
    assert all(name.startswith("stem.") for name in report.missing)
    assert set(report.unexpected) == {
        name for name in donor.state_dict() if name.startswith(("conv1.", "bn1."))
    }
    assert torch.equal(backbone.state_dict()["stem.0.weight"], before)


def test_files_without_batch_counters_lack_nothing(donor: nn.Module, tmp_path: Path) -> None:
    old = {n: v for n, v in donor.state_dict().items() if not n.endswith("num_batches_tracked")}
    backbone = ResNet(18)
    report = load_backbone(backbone, save(old, tmp_path))
    assert report.missing == ()
    assert report.loaded == len(old) - 2
    assert_same(backbone, donor)


def write_safetensors(state: dict[str, Tensor], path: Path) -> Path:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
    for name, value in state.items():
        raw = value.numpy().tobytes()
        header[name] = {
            "dtype": kinds[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_safetensors_are_read(donor: nn.Module, tmp_path: Path) -> None:
    backbone = ResNet(18)
    report = load_backbone(
        backbone, write_safetensors(donor.state_dict(), tmp_path / "a.safetensors")
    )
    assert report.missing == report.unexpected == ()
    assert_same(backbone, donor)


@pytest.mark.parametrize(
    "path", ["https://x.org/a.pth", "torchvision://resnet50", "open-mmlab://resnet50_v1c"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_an_address_is_no_file(path: str, kind: Any) -> None:
    with pytest.raises(UserError, match="is no local file: download the checkpoint first"):
        load_backbone(ResNet(18), kind(path))


def test_files_that_are_no_checkpoints_are_refused(donor: nn.Module, tmp_path: Path) -> None:
    backbone = ResNet(18)
    with pytest.raises(UserError, match=r"there is no checkpoint .*absent.pth"):
        load_backbone(backbone, tmp_path / "absent.pth")
    text = tmp_path / "text.pth"
    text.write_text("hello")
    with pytest.raises(UserError, match=r"text.pth is damaged or no checkpoint"):
        load_backbone(backbone, text)
    text.with_suffix(".safetensors").write_text("hello, hello, hello")
    with pytest.raises(UserError, match=r"text.safetensors is damaged or no checkpoint"):
        load_backbone(backbone, text.with_suffix(".safetensors"))
    whole = save(donor.state_dict(), tmp_path)
    whole.write_bytes(whole.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r"weights.pth is damaged or no checkpoint"):
        load_backbone(backbone, whole)
    for content in ({"epoch": 3}, [1, 2], torch.ones(3)):
        with pytest.raises(UserError, match="without a state_dict"):
            load_backbone(backbone, save(content, tmp_path))


def test_cut_off_safetensors_are_refused(donor: nn.Module, tmp_path: Path) -> None:
    path = write_safetensors(donor.state_dict(), tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="is damaged or no checkpoint"):
        load_backbone(ResNet(18), path)


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["TRAP"],)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    path = save({"state_dict": {}, "extra": Trap()}, tmp_path)
    with pytest.raises(UserError, match=r"without a state_dict \(it holds posix\.mkdir\)"):
        load_backbone(ResNet(18), path)
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_network_are_refused(donor: nn.Module, tmp_path: Path) -> None:
    path = save(donor.state_dict(), tmp_path)
    swin = SwinTransformer(embed_dims=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))
    with pytest.raises(UserError, match=r"holds none of the .* tensors of this SwinTransformer"):
        load_backbone(swin, path)
    torchvision_swin = torchvision.models.SwinTransformer([4, 4], 24, [1, 1], [1, 2], [7, 7])
    with pytest.raises(UserError, match=r"none of .*it lacks patch_embed.* has features"):
        load_backbone(swin, save(torchvision_swin.state_dict(), tmp_path))


def test_a_file_with_a_few_names_in_common_is_refused(donor: nn.Module, tmp_path: Path) -> None:
    few = {name: value for name, value in donor.state_dict().items() if name.startswith("layer1.")}
    with pytest.raises(UserError, match=r"holds 20 of the 100 tensors .*lacks conv1.weight\)"):
        load_backbone(ResNet(18), save(few, tmp_path))


def test_another_shape_is_named_and_changes_nothing(donor: nn.Module, tmp_path: Path) -> None:
    state = donor.state_dict()
    state["layer2.0.conv1.weight"] = torch.ones(5, 64, 3, 3)
    backbone = ResNet(18)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(UserError, match=r"layer2.0.conv1.weight of shape \(5, 64, 3, 3\), the Res"):
        load_backbone(backbone, save(state, tmp_path))
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])
