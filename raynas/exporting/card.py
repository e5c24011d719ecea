"""The model card: README.md of an export to a model hub."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import yaml

from raynas.wording import percent, plural, setting_text

# fmt: off
_OF_HUBS = frozenset({
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "isc", "zlib", "unlicense", "wtfpl",
    "ncsa", "postgresql", "bsl-1.0", "ms-pl", "afl-3.0", "artistic-2.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1",
    "eupl-1.2", "mpl-2.0", "ofl-1.1", "osl-3.0", "pddl", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-permissive-2.0",
})
# fmt: on
"""Licences that hubs know by the SPDX identifier in lower case; others are told by name."""

_LINE_LENGTH = 120


def card_text(config: Mapping[str, Any], readme: str) -> str:
    """The text of README.md: fields for the hub, what the network is worth and costs, how it came about, how to use it.

    Args:
        config: What is written to config.json.
        readme: The text of README.md of any other export: a heading, a paragraph, and the rest.
    """
    heading, about, rest = readme.split("\n\n", 2)
    parts = [
        heading,
        about,
        "## Architecture\n",
        _architecture(config),
        "## Accuracy\n",
        _accuracy(config),
        "## Cost\n",
        _cost(config),
        "## Data and training\n",
        _training(config),
        "## Licence\n",
        _license(config),
        "## Use\n",
        _with_timm(config),
        rest,
    ]
    text = "\n\n".join(part.strip("\n") for part in parts)
    return f"---\n{_front(config)}---\n\n{text}\n"


def _front(config: Mapping[str, Any]) -> str:
    name, found = config["license"], (config["training"] or {}).get("accuracies") or []
    license = {"license": "unknown"}
    if name is not None:
        known = name.lower() in _OF_HUBS
        license = {"license": name.lower()} if known else {"license": "other", "license_name": name}
    fields: dict[str, Any] = {
        **license,
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "raynas", "neural-architecture-search", config["space"]],
    }
    if found:
        fields["metrics"] = ["accuracy"]
        results = [
            {
                "task": {"type": "image-classification", "name": "Image classification"},
                "dataset": {"type": one["data"].partition(",")[0], "name": one["data"]},
                "metrics": [{"type": "accuracy", "name": "top-1", "value": one["top1"]}],
            }
            for one in found
        ]
        fields["model-index"] = [{"name": config["name"], "results": results}]
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _architecture(config: Mapping[str, Any]) -> str:
    """What was chosen, by the names of the choices."""
    text = (
        f"raynas is a program that searches networks. This one is of its space `{config['space']}`, a set of "
        "architectures that differ in these fields:"
    )
    rows = [f"| {name} | {_cell(value)} |" for name, value in config["fields"].items()]
    return "\n".join([_wrapped(text), "", "| field | value |", "|---|---|", *rows])


def _accuracy(config: Mapping[str, Any]) -> str:
    if not config["weights"]["trained"]:
        return "The weights are random: it was not trained."
    found = config["training"]["accuracies"]
    if not found:
        return "Not measured."
    lines = ["| images | how many | top-1 | 95 % interval |", "|---|---|---|---|"]
    for one in found:
        interval = "unknown" if one["low"] is None else f"{percent(one['low'])} to {percent(one['high'])}"
        count = "unknown" if one["images"] is None else f"{one['images']:,}"
        lines.append(f"| {one['data']} | {count} | {percent(one['top1'])} | {interval} |")
    text = "The interval is Wilson's: of how sure one can be from so many images."
    if any(one["chosen_by_it"] for one in found):
        text += " The epoch was chosen by the accuracy on the images of the first row, which flatters it there."
    return "\n".join(lines) + "\n\n" + _wrapped(text)


def _cost(config: Mapping[str, Any]) -> str:
    size, time = config["img_size"], config["latency"]
    median, q1, q3 = (f"{1000 * time[name]:.3g} ms" for name in ("median_s", "q1_s", "q3_s"))
    threads = plural(time["threads"], "thread", "threads")
    return "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| parameters | {config['num_params']:,} |",
            f"| multiply-adds, of an image of {size} x {size} pixels | {config['macs']:,} |",
            f"| latency of one image | {median} (quartiles {q1} and {q3} of {plural(time['runs'], 'run', 'runs')}), "
            f"torch {config['versions']['torch']}, {time['dtype']}, {threads}, {time['device']} |",
        ]
    )


def _training(config: Mapping[str, Any]) -> str:
    facts = config["training"]
    if facts is None:
        return "None: the weights are random."
    train = facts["images"].get("train")
    counted = "" if train is None else f"{plural(train, 'image', 'images')} of "
    about = "" if facts["about_data"] is None else f" ({facts['about_data']})"
    names = config["class_names"]
    of_classes = f", {config['num_classes']:,} classes" + (f" such as {', '.join(names[:5])}" if names else "")
    lines = [_wrapped(f"Trained on {counted}{facts['data']}{about}{of_classes}; evaluated on {facts['val_data']}.")]
    lines += ["", "| setting | value |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {_cell(value)} |" for name, value in facts["recipe"].items())])


def _cell(value: Any) -> str:
    return setting_text(value).replace("|", "\\|").replace("\n", " ")


def _license(config: Mapping[str, Any]) -> str:
    if config["license"] is None:
        return _wrapped(
            "**Unknown.** Nobody has said under which licence these weights may be used; ask whoever published them."
        )
    is_own = config["license"].startswith("LicenseRef-")
    return f"{config['license']}, a licence of whoever published it." if is_own else f"{config['license']} (SPDX)."


def _with_timm(config: Mapping[str, Any]) -> str:
    """How timm loads the folder."""
    is_own = config["architecture"] == config["name"]
    imports = ["import timm", *(["", "import timm_model  # registers the architecture"] if is_own else [])]
    text = "Download this folder. In it, timm loads the network with its weights:"
    lines = [*imports, "", 'network = timm.create_model("local-dir:.", pretrained=True)']
    return "\n".join([text, "", *(f"    {line}".rstrip() for line in lines)])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _LINE_LENGTH, break_long_words=False, break_on_hyphens=False)
