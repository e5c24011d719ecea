"""The texts of an exported folder: model.py and README.md; that of timm_model.py is in `timm_text`."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raynas.exporting.timm_text import timm_readme
from raynas.exporting.words import formats_lines
from raynas.models.plain_code import FITS_WEIGHTS, PlainCode

_LINE_LENGTH = 120

_LOADING = '''

def create_model(**changes: Any) -> {returned}:
    """The network with fresh weights; keywords change its settings, such as num_classes=5 or drop_path_rate=0.1."""
{made}


def load(folder: str | Path | None = None{parameter}) -> {returned}:
    """The network with the weights of `model.safetensors`, in eval mode.

    Args:
        folder: Where that file is; default: beside this one.{described}
    """
    from safetensors.torch import load_file

    model = create_model({changes})
    weights = load_file(Path(folder or Path(__file__).parent) / "model.safetensors")
    model.load_state_dict({weights})
    return model.eval()
'''

_MADE = "    return {network}(**{{**SETTINGS, **changes}})"
_MADE_AND_TIED = """    model = {network}(**{{**SETTINGS, **changes}})
    for name, first in TIED.items():  # parameters that are one, where other settings have not made them differ
        place, _, own = name.rpartition(".")
        if model.get_parameter(name).shape == model.get_parameter(first).shape:
            setattr(model.get_submodule(place), own, model.get_parameter(first))
    return model"""


def model_text(code: PlainCode, title: str, constants: Mapping[str, Any], tied: Mapping[str, str] | None = None) -> str:
    """The text of model.py: the network's code with the found numbers at its top, and a function that loads weights.

    Args:
        code: What the model says of itself.
        title: What the model is, in some lines, for the docstring of the file.
        constants: Further numbers to write into the file, by the names that they get there.
        tied: Names of parameters that are one with others, and the names of those.
    """
    tree = ast.parse(code.source)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    added = ast.parse("from __future__ import annotations\nfrom pathlib import Path\nfrom typing import Any").body
    body = code.source.splitlines()[imports[-1].end_lineno or 0 :]
    numbers = {"SETTINGS": dict(code.settings), **({"TIED": dict(tied)} if tied else {}), **constants}
    return "\n".join(
        [
            f'"""{title}\n\n{ast.get_docstring(tree) or ""}\n"""\n',
            _sorted_imports([*added, *imports]),
            *(f"{name} = {_literal(value)}" for name, value in numbers.items()),
            *(["\n".join(body).rstrip()] if any(body) else []),
            _loading(code, has_tied=bool(tied)),
        ]
    )


def _loading(code: PlainCode, *, has_tied: bool) -> str:
    """The functions at the end of model.py; of a model that takes another image side, `load` does so too."""
    resizes = code.fits_weights
    return _LOADING.format(
        made=(_MADE_AND_TIED if has_tied else _MADE).format(network=code.network),
        returned=code.network if code.network[:1].isupper() else "Any",
        parameter=", *, img_size: int | None = None" if resizes else "",
        described="\n        img_size: Another image side in pixels, for which positions are resized."
        if resizes
        else "",
        changes='**({} if img_size is None else {"img_size": img_size})' if resizes else "",
        weights=f"{FITS_WEIGHTS}(weights, model)" if resizes else "weights",
    )


def readme_text(config: Mapping[str, Any], packages: Iterable[str]) -> str:
    """The text of README.md: what the exported folder holds, and how to load it.

    Args:
        config: What is written to config.json.
        packages: Names of the packages that `model.py` imports.
    """
    weights = config["weights"]
    trained = f"not trained: its weights are random, of seed {weights.get('seed')}"
    if weights["trained"]:
        trained = f"trained: weights {epochs_text(weights)}"
    lines = [
        f"# {config['name']}",
        "",
        f"`{config['text']}` of the space {config['space']}, {trained}; {config['num_params']:,} parameters,",
        f"{config['macs']:,} multiply-adds. Exported by raynas {config['versions']['raynas']}, and runs without it.",
        "",
        *_of_head(weights),
        f"Needs {', '.join(packages)} and safetensors; `images.py` needs numpy and pillow. In this folder:",
        "",
        *(f"    {line}".rstrip() for line in _example(config)),
        "",
        *_of_images(config),
    ]
    if config["tokens"]:
        stride, dilation = config["tokens"]["stride"], config["tokens"]["dilation"]
        lines += ["", f"Its tokens have stride {stride} and dilation {dilation}, as it was trained with last."]
    lines += [*formats_lines(config), "", *timm_readme(config)]
    return "\n".join(lines) + "\n"


def _of_head(weights: Mapping[str, Any]) -> list[str]:
    """What is said of a head that was never trained."""
    if weights.get("head") != "not trained":
        return []
    text = "It was trained without labels: its features are of use, and its head knows nothing until it is trained."
    return [f"**{text}**", ""]


def epochs_text(weights: Mapping[str, Any]) -> str:
    """After how many epochs of its training a model was taken, such as "of 16 of 40 epochs".

    Args:
        weights: What config.json says of trained weights.
    """
    return f"of {weights['epochs']} of {weights['of_epochs']} epochs"


def _example(config: Mapping[str, Any]) -> list[str]:
    """A program that says what is on an image."""
    named = config["class_names"] is not None
    return [
        *(["import json", "from pathlib import Path", ""] if named else []),
        "import torch",
        "",
        "import images",
        "import model",
        "",
        'batch = torch.stack([images.load_image("photo.png")])  # (B, 3, S, S)',
        "with torch.no_grad():",
        "    probabilities = model.load()(batch).softmax(dim=1)  # (B, classes)",
        *(['names = json.loads(Path("config.json").read_text())["class_names"]'] if named else []),
        "for share, number in zip(*probabilities.max(dim=1)):",
        f"    print({'names[number]' if named else 'int(number)'}, float(share))",
    ]


def _of_images(config: Mapping[str, Any]) -> list[str]:
    """How images are to be prepared, in words."""
    size, rules = config["img_size"], config["preprocessing"]
    if rules["pixel_range"] is None:
        depth = (
            "grey of more than 8 bits is scaled by the depth that its file declares, 16 bits that reach 32,768 by "
            "65,535, float numbers from 0 to 1, and other depths are refused"
        )
    else:
        low, high = rules["pixel_range"]
        depth = f"grey of more than 8 bits is scaled such that {low:g} is black and {high:g} is white"
    fitted = f"squeezed to {size} x {size} pixels (bicubic)"
    if (side := rules["shorter_side"]) is not None:
        fitted = f"resized to a shorter side of {side} pixels (bicubic), cut to its centre of {size} x {size} pixels"
    text = (
        "The model expects images as `images.py` makes them; from others it gives wrong answers without a word. They "
        f"are turned as EXIF says; what is transparent, in palettes too, shows the colour {tuple(rules['ground'])}; of "
        f"several frames the first is taken; {depth}; then RGB of 8 bits is {fitted}, divided by "
        "255, and normalised by `mean` and `std` of `config.json`, where `preprocessing` says the same."
    )
    return textwrap.wrap(text, _LINE_LENGTH, break_long_words=False, break_on_hyphens=False)


def _sorted_imports(statements: Iterable[ast.stmt]) -> str:
    """Imports in the usual three groups, the future, the standard library, others, with one statement a module."""
    taken: dict[str, set[str]] = {}
    plain: set[str] = set()
    for node in statements:
        names = {ast.unparse(alias) for alias in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
        if isinstance(node, ast.ImportFrom):
            taken.setdefault(str(node.module), set()).update(names)
        else:
            plain |= names
    lines = [(f"import {name}", name) for name in sorted(plain)]
    lines += [(_from_line(module, sorted(taken[module], key=_name_order)), module) for module in sorted(taken)]
    groups: list[list[str]] = [[], [], []]
    for line, module in lines:
        package = module.split()[0].partition(".")[0]
        groups[0 if package == "__future__" else 1 if package in sys.stdlib_module_names else 2].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group) + "\n"


def _from_line(module: str, names: Sequence[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= _LINE_LENGTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _name_order(name: str) -> tuple[int, str]:
    """A key that sorts names as ruff does: constants, then classes, then others."""
    return (0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2), name


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{\n" + "".join(f'    "{name}": {item!r},\n' for name, item in value.items()) + "}"
    return repr(value)
