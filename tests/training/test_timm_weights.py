"""Plain vision transformers of timm with weights in local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from raynas.errors import ConfigError, StoreError
from raynas.models.elastic.starting import supernet_from
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.space.build import build
from raynas.space.registered import spaces
from raynas.training.timm_weights import read_timm_vit

TINY = "deit_tiny_patch16_224"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def network(name: str, num_classes: int) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=num_classes).eval()


@pytest.fixture(scope="module")
def tiny() -> Any:
    return network(TINY, 7)


def of_channels(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_a_network_is_read_with_its_weights(form: str, tiny: Any, tmp_path: Path) -> None:
    file = tmp_path / f"weights.{form}"
    save_file(tiny.state_dict(), file) if form == "safetensors" else torch.save({"state_dict": tiny.state_dict()}, file)
    found = read_timm_vit(f"timm:{TINY}:{file}")
    assert (found.text, found.img_size, found.num_classes) == ("p16-w192-d12-h3-m4", 224, 7)
    assert found.weights.keys() == tiny.state_dict().keys()
    # Its images are normalised as ours are, so all weights stay as they were.
    assert all(torch.allclose(found.weights[name], value, atol=1e-7) for name, value in tiny.state_dict().items())


def test_images_of_another_mean_and_std_are_seen_as_in_timm(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    theirs = network(name, 4)
    assert theirs.default_cfg["mean"] == theirs.default_cfg["std"] == (0.5, 0.5, 0.5)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    found = read_timm_vit(f"timm:{name}:{tmp_path / 'weights.safetensors'}")
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    space = spaces.get(f"vit-elastic@{found.text}")
    supernet = supernet_from(space, found.weights, img_size=found.img_size, num_classes=found.num_classes)
    supernet.whole.eval()
    with torch.no_grad():
        ours = (pixels - of_channels(IMAGENET_MEAN)) / of_channels(IMAGENET_STD)
        expected = theirs((pixels - 0.5) / 0.5)
        torch.testing.assert_close(supernet(ours, [supernet.largest]), expected, rtol=1e-5, atol=1e-5)
    plain = build(spaces.get("vit"), spaces.get("vit").read(found.text), num_classes=4).eval()
    plain.load_state_dict(found.weights)
    with torch.no_grad():
        torch.testing.assert_close(plain(ours), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vit_small_patch32_224", "p32-w384-d12-h6-m4"),
        ("vit_base_patch16_384", "p16-w768-d12-h12-m4"),
        ("vit_medium_patch16_gap_240", None),  # the mean of patches gives the logits
        ("vit_base_patch16_clip_224", None),  # a norm before the blocks
        ("vit_small_patch14_dinov2", None),  # scales of the branches
        ("vit_base_patch16_siglip_224", None),  # attention gives the logits
        ("vit_tiny_r_s16_p8_224", None),  # patches of a ResNet's map
        ("deit_tiny_distilled_patch16_224", None),
        ("swin_tiny_patch4_window7_224", None),
        ("resnet18", None),
    ],
)
def test_only_plain_class_token_networks_are_taken(name: str, text: str | None, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").touch()
    with pytest.raises((ConfigError, StoreError)) as caught:
        read_timm_vit(f"timm:{name}:{tmp_path / 'weights.pth'}")
    if text is None:
        assert str(caught.value) == (
            f"timm:{name} is no plain vision transformer: its class token is to give the logits, and its layers are to "
            "be those of the space 'vit', such as of deit_tiny_patch16_224"
        )
    else:
        assert "cannot read weights" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        (TINY, ConfigError, "are not of the form timm:NAME:FILE"),
        ("timm:", ConfigError, "are not of the form timm:NAME:FILE"),
        (f"timm:{TINY}", ConfigError, "has no file of weights: nothing is downloaded"),
        (f"timm:{TINY}:nowhere.pth", StoreError, "there is no file 'nowhere.pth'"),
        ("timm:diet_tiny_patch16_224:{file}", ConfigError, "timm has no model 'diet_tiny_patch16_224'. Did you mean"),
        (f"timm:{TINY}:{{file}}", StoreError, "head.weight is missing in the file"),
        ("timm:vit_small_patch16_224:{file}", StoreError, "holds the weights of another architecture"),
    ],
)
def test_other_input_is_refused_in_a_line(spec: str, kind: Any, message: str, tiny: Any, tmp_path: Path) -> None:
    weights = {name: value for name, value in tiny.state_dict().items() if name != "head.weight"}
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(kind, match=message) as caught:
        read_timm_vit(spec.format(file=tmp_path / "weights.safetensors"))
    assert "\n" not in str(caught.value)
