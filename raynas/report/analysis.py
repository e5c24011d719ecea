"""What the page of an analysis shows: likeness of layers, attention of heads, tokens by depth, pictures."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from raynas.data.opening import described
from raynas.report.embedding import finite, short_number
from raynas.report.model_points import model_points
from raynas.report.status import run_status
from raynas.report.text import Rows, machine_rows
from raynas.wording import duration, percent, plural, setting_text

if TYPE_CHECKING:
    from raynas.analysis.folder import Analysis

_NETWORKS = ("model", "against")
_PICTURE = re.compile(r"(model|against)-(\d+)-(images|attention)")


def analysis_report_data(analysis: Analysis) -> dict[str, Any]:
    """Everything that the page shows, without NaN and infinity.

    Args:
        analysis: The folder of an analysis, finished or not.

    Returns:
        A value for `json.dumps`; networks are known by their numbers in `networks`.
    """
    description, summary = analysis.description, analysis.summary
    networks = [dict(description["networks"][name]) for name in _NETWORKS if name in description["networks"]]
    names = [str(one["name"]) for one in networks]
    images = int(summary.get("images") or 0)
    known = summary.get("knn_top1") or {}
    data: dict[str, Any] = finite(
        {
            "layout": "analysis",
            "title": "Analysis",
            "headline": " against ".join(names),
            "subline": " · ".join([plural(images, "image", "images"), str(description["config"]["data"])]),
            "status": run_status(analysis.folder, summary, None),
            "facts": [
                ["images", f"{images:,}"],
                *(
                    [f"nearest neighbours, {_short(names, i)}", percent(known[name]) if name in known else None]
                    for i, name in enumerate(_NETWORKS[: len(networks)])
                ),
                ["duration", duration(summary["seconds"]) if summary.get("seconds") else None],
            ],
            **model_points("", [], {}, texts=[], img_size=0),
            "networks": networks,
            "images": images,
            "likeness": _likeness(analysis),
            "heads": _heads(analysis),
            "depths": _depths(analysis),
            "pictures": _pictures(analysis, names),
            "groups": _groups(description),
        }
    )
    return data


def _short(names: list[str], number: int) -> str:
    return "top-1" if len(names) == 1 else names[number]


def _likeness(analysis: Analysis) -> list[dict[str, Any]]:
    """A map for each network by itself, and one for both."""
    maps: dict[tuple[str, str], dict[tuple[str, str], float | None]] = {}
    for row in analysis.cka.to_pylist():
        pair = maps.setdefault((row["network"], row["other_network"]), {})
        pair[row["point"], row["other_point"]] = row["cka"]
    found = []
    for (of, other), values in maps.items():
        rows, columns = (list(dict.fromkeys(key[i] for key in values)) for i in (0, 1))
        cells = [[_shortened(values[a, b]) for b in columns] for a in rows]
        numbers = {"of": _NETWORKS.index(of), "other": _NETWORKS.index(other)}
        found.append({**numbers, "rows": rows, "columns": columns, "values": cells})
    return found


def _shortened(value: float | None) -> float | None:
    return None if value is None else short_number(value)


def _heads(analysis: Analysis) -> list[dict[str, Any]]:
    """Distance and entropy of each head, by network and block."""
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for row in analysis.attention.to_pylist():
        head = {"distance": _shortened(row["distance"]), "entropy": _shortened(row["entropy"])}
        found.setdefault(row["network"], {}).setdefault(row["block"], []).append(head)
    patches = {row["network"]: row["tokens"] for row in reversed(analysis.layers.to_pylist())}  # at the first point
    return [
        {"network": _NETWORKS.index(name), "blocks": [*blocks.values()], **_of_even_attention(patches[name])}
        for name, blocks in found.items()
        if name in patches
    ]


def _of_even_attention(patches: int) -> dict[str, float | None]:
    """Distance and entropy of a head that attends to all patches of a square grid alike."""
    places = np.arange(math.isqrt(patches))
    rows, columns = (places[:, None] - places)[:, None, :, None] ** 2, (places[:, None] - places)[None, :, None] ** 2
    distance = float(np.sqrt(rows + columns).mean())
    return {"even_distance": short_number(distance), "even_entropy": short_number(math.log(patches))}


def _depths(analysis: Analysis) -> list[dict[str, Any]]:
    found: dict[str, dict[str, list[float | None]]] = {}
    for row in analysis.layers.to_pylist():
        lines = found.setdefault(row["network"], {"effective_rank": [], "token_similarity": []})
        for name, values in lines.items():
            values.append(_shortened(row[name]))
    return [{"network": _NETWORKS.index(name), **lines} for name, lines in found.items()]


def _pictures(analysis: Analysis, names: list[str]) -> list[dict[str, str]]:
    """The images, and the attention of some blocks of each network, as data URIs with what they show."""
    found: list[tuple[tuple[bool, int, int], dict[str, str]]] = []
    for name, content in analysis.pictures():
        match = _PICTURE.fullmatch(name)
        if match is None or (match[3] == "images" and match[1] != _NETWORKS[0]):  # both are shown the same images
            continue
        network, block = _NETWORKS.index(match[1]), int(match[2])
        is_map = match[3] == "attention"
        text = f"{names[network]}, attention of block {block}" if is_map else "images"
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        found.append(((is_map, network, block), {"text": text, "source": source}))
    return [shown for _, shown in sorted(found, key=lambda one: one[0])]


def _groups(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings, as titled lists of (term, text)."""
    config = description["config"]
    titles = {"model": "The network", "against": "What it is compared with"}
    groups: list[tuple[str, Rows]] = [
        (
            titles.get(name, name),
            [
                ("network", str(one["name"])),
                ("weights", str(one["weights"])),
                ("images of", f"{one['img_size']} pixels"),
            ],
        )
        for name, one in description["networks"].items()
    ]
    told = {**config, "data": described(str(config["data"]))}
    rows = [(name, setting_text(value)) for name, value in told.items() if value not in (None, (), [], False)]
    groups += [("Settings", rows), ("Made with", machine_rows(description))]
    return [{"title": title, "rows": listed} for title, listed in groups]
