"""What is said of an export's further files, in README.md and in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from raynas.wording import percent, plural

_LINE_LENGTH = 120
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def formats_lines(config: Mapping[str, Any]) -> list[str]:
    """What README.md says of further files, a blank line before each paragraph.

    Args:
        config: What is written to config.json.
    """
    texts = []
    if (about := config.get("torch_export")) is not None:
        texts.append(
            f"`{about['file']}` is a program of torch.export that runs without code of the network: "
            f'`torch.export.load("{about["file"]}").module()` takes {_taken(about)}.'
        )
    if (about := config.get("onnx")) is not None:
        texts.append(
            f"`{about['file']}` (opset {about['opset']}) takes `{about['input']}` and gives `{about['output']}`, for "
            f"{_taken(about)}{_unchecked(about)}. In Python: "
            f'`onnxruntime.InferenceSession("{about["file"]}").run(["{about["output"]}"], '
            f'{{"{about["input"]}": batch}})`, with `batch` from `images.py` as a NumPy array.'
        )
    if (about := config.get("int8")) is not None:
        texts.append(f"`{about['file']}` takes and gives the same. {' '.join(int8_sentences(about))}")
    return [line for text in texts for line in ["", *textwrap.wrap(text, _LINE_LENGTH, **_WHOLE)]]


def int8_sentences(about: Mapping[str, Any]) -> list[str]:
    """What 8 bits changed, in words.

    Args:
        about: What config.json says of it.
    """
    sizes, left = about["size_bytes"], about["left_in_float32"]
    kept = ", ".join(f"{count} {name}" for name, count in left.items())
    sentences = [
        f"The weights of {plural(about['linear_layers'], 'linear layer', 'linear layers')} have 8 bits"
        + (f"; {kept} stay in float32." if kept else "."),
        f"The file has {sizes['after']:,} bytes and not {sizes['before']:,}.",
    ]
    if (measured := about["accuracy"]) is None:
        return [*sentences, "The accuracy was not measured, as the weights were never trained."]
    difference = measured["difference"]
    low, high = f"{100 * difference['low']:+.2f}", _signed(difference["high"])
    return [
        *sentences,
        f"Top-1 is {percent(measured['after']['top1'])} and was {percent(measured['before']['top1'])}, on "
        f"{plural(measured['images'], 'image', 'images')} of {measured['data']}: a difference of "
        f"{_signed(difference['top1'])} (95 % interval {low} to {high}); "
        + (
            f"of {plural(measured['changed'], 'image', 'images')} it predicts another class."
            if measured["changed"]
            else "it predicts the same class of each image."
        ),
    ]


def taken_words(config: Mapping[str, Any]) -> str | None:
    """Which images the further files take, for a terminal; None where there are no such files."""
    found = [(about["file"], _taken(about)) for name in ("torch_export", "onnx") if (about := config.get(name))]
    if not found:
        return None
    if len({words for _, words in found}) == 1:
        return f"{' and '.join(name for name, _ in found)} {'take' if found[1:] else 'takes'} {found[0][1]}"
    return "; ".join(f"{name} takes {words}" for name, words in found)


def _taken(about: Mapping[str, Any]) -> str:
    size = about["image_size"]
    if not isinstance(size, Mapping):
        return f"any number of images of {size} x {size} pixels, the only size"
    sides = "of any height and width" if size["multiple_of"] == 1 else f"in multiples of {size['multiple_of']}"
    return f"any number of images {sides} from {size['least']} pixels"


def _unchecked(about: Mapping[str, Any]) -> str:
    """A warning where ONNX Runtime computes something of images that the network does not take."""
    size = about["image_size"]
    if not isinstance(size, Mapping) or size["multiple_of"] == 1:
        return ""
    return "; ONNX Runtime refuses no others, and what it gives for them means nothing"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f} points"
