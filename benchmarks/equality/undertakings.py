"""What is carried out with the raynas of two commits: small undertakings of every kind, as values.

Functions and settings are those at the top of the package, which every commit has wherever its modules are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

Values = Mapping[str, Any]

EXTENTS = ("quick", "usual", "long")
"""How much is carried out; each has what those before it have."""

RUN_OF = "run:"
"""Before the name of an undertaking, stands for the folder of its run."""


@dataclass(frozen=True)
class Undertaking:
    """A call of a public function of raynas.

    Args:
        name: Its own, and that of its folder.
        function: Of the package; or `interrupted`, a search that a signal ends and that is resumed.
        arguments: By position; a text that begins with `RUN_OF` stands for a folder.
        settings: By keyword, likewise.
        scores: Which proxies it has: "all" that the other commit lists, as they are; "all other", with another
            initialisation than their own; "": those in the settings.
        extent: The least one that has it, of `EXTENTS`.
        is_continued: The other commit resumes its folder, and takes scores from it where they can be taken.
        same_as: Another of the list that must come to the same, before it in the list; "": none.
    """

    name: str
    function: str
    arguments: tuple[Any, ...] = ()
    settings: Values = field(default_factory=dict)
    scores: str = ""
    extent: str = "usual"
    is_continued: bool = False
    same_as: str = ""

    @property
    def expected(self) -> str:
        """Name of the one whose results it must have."""
        return self.same_as or self.name

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of those whose runs it reads, or that it is compared with."""
        texts = [value for value in (*self.arguments, *self.settings.values()) if isinstance(value, str)]
        runs = [text.removeprefix(RUN_OF) for text in texts if text.startswith(RUN_OF)]
        return (*runs, *([self.same_as] if self.same_as else []))

    @property
    def has_workers(self) -> bool:
        """Whether it needs Ray."""
        return bool(self.settings.get("workers"))


def undertakings(extent: str = "long", only: Collection[str] = ()) -> list[Undertaking]:
    """Undertakings in the order in which they are carried out: those first whose runs others need, those last with Ray.

    Args:
        extent: One of `EXTENTS`.
        only: Names of those that are wanted, and with them what they need; none: all.

    Raises:
        ValueError: A name is not in the list.
    """
    bench = Undertaking("bench", "bench_proxies", ("vit", TRUTH), _BENCH, extent="quick", is_continued=True)
    found = [*_scores(), *_searches(), bench, *_trainings(), *_exports()]
    found.sort(key=lambda one: one.has_workers)
    by_name = {one.name: one for one in found}
    if unknown := [name for name in only if name not in by_name]:
        raise ValueError(f"no undertaking is called {', '.join(unknown)}; there are {', '.join(by_name)}")
    extents = EXTENTS[: EXTENTS.index(extent) + 1]
    wanted = list(only) or [one.name for one in found if one.extent in extents]
    for name in wanted:  # which grows meanwhile
        wanted += [needed for needed in by_name[name].needs if needed not in wanted]
    return [one for one in found if one.name in wanted]


# -- scores ------------------------------------------------------------------------------------------------------------

SMALL = "4,2,2|2,1,2|2,1,2|2,1,2|8,8"
"""An As-ViT of 62,000 parameters."""

SCORED: Mapping[str, tuple[tuple[str, ...], int]] = {
    "as-vit": (("8,2,3|4,1,2|4,1,4|4,1,6|32", SMALL), 32),
    "autoformer-tiny": (("w192-m3.5,4,4-h3,3,4",), 32),
    "autoformer-tiny-plain": (("w192-m3.5,4,4-h3,4,3",), 32),
    "pit-tiny": (("b16-m2-d1,4,2-h2,4,8",), 32),
    "vit": (("p16-w96-d4-h3-m2", "p8-w144-d6-h4-m3"), 32),
    "resnet": (("resnet8-w8", "resnet20"), 32),
    "timm": (("vit_tiny_patch16_224", "resnet10t"), 64),
}
"""Architectures of each space, and the side of the images."""

_SMALL_BATCHES = {name: {"batch_size": 4} for name in ("az_nas", "entropy", "ntk_condition_logits", "zen")}
_SCORE: Values = {"data": "digits", "batch_size": 8, "teacher": "random:resnet8-w8", "settings": _SMALL_BATCHES}


def _scores() -> Iterator[Undertaking]:
    for space, (architectures, img_size) in SCORED.items():
        given = {**_SCORE, "img_size": img_size, "workers": 0}
        extent = "quick" if space in ("as-vit", "vit", "resnet") else "usual"
        yield Undertaking(f"score/{space}", "score", (space, architectures), given, "all", extent, is_continued=True)
        # Half the width where it can be divided, several draws of weights, and another score seed.
        narrower = {} if space in ("resnet", "timm") else {"width_divisor": 2}
        own = {**_SMALL_BATCHES, "ntk_condition": {"repeats": 2}, "curvature": {"repeats": 2}}
        other = {**given, **narrower, "score_seed": 1, "settings": own}
        yield Undertaking(f"score/{space}-other", "score", (space, architectures[-1:]), other, "all other")
    proxies = ("synflow", "grasp", "naswot", "ntk_condition")
    wide = {
        "img_size": 32,
        "data": "random",
        "proxies": proxies,
        "settings": {p: {"dtype": "float64"} for p in proxies},
    }
    for workers in (0, 1):
        yield Undertaking(f"score/float64-{workers}", "score", ("vit", 3), {**wide, "workers": workers})
    model = {"img_size": 32, "data": "digits", "batch_size": 8}
    yield Undertaking("score/model", "score_model", ("test_resnet",), model, "all")


# -- searches ----------------------------------------------------------------------------------------------------------

_ONE_DRAW = {"length_distortion": {"repeats": 1}}
_SEARCH: Values = {
    "img_size": 32,
    "data": "digits",
    "batch_size": 4,
    "objectives": ("length_distortion",),
    "proxies": ("ntk_condition",),
    "constraints": ("num_params<=2e6",),
    "budget": 40,
    "window": 6,
    "seed": 3,
}
_SEARCHERS: Mapping[str, tuple[Values, Values]] = {
    "reinforce": ({}, {}),
    "regularized_evolution": ({"population": 8}, {}),
    "evolution": ({"population": 8, "parents": 4, "mutants": 4, "children": 4}, {}),
    "random": ({}, {}),
    "nsga2": ({"population": 8}, {"objectives": ("length_distortion", "ntk_condition")}),
    "tpe": ({}, {}),
    "uncertainty": ({"img_size": 32, "num_classes": 10}, {}),
}
"""Of each searcher: its own settings, and those of the run."""

_GROWTH: Values = {"img_size": 32, "data": "digits", "batch_size": 4, "stop": "num_params>=1e5", "settings": _ONE_DRAW}


def _searches() -> Iterator[Undertaking]:
    for workers in (0, 1):
        extent, is_continued = ("usual", False) if workers else ("quick", True)
        for searcher, (own, more) in _SEARCHERS.items():
            settings = {**_ONE_DRAW, "searcher": own}
            given = {**_SEARCH, **more, "searcher": searcher, "workers": workers, "settings": settings}
            name = f"search/{searcher}-{workers}"
            yield Undertaking(name, "search", ("as-vit",), given, "", extent, is_continued)
            if searcher == "regularized_evolution" and not workers:
                yield Undertaking(
                    "search/interrupted", "interrupted", ("as-vit",), given, "", extent, is_continued, same_as=name
                )
        given = {**_GROWTH, "workers": workers}
        yield Undertaking(f"scale/{workers}", "scale", (SMALL,), given, "", extent, is_continued)
    several = {**_SEARCH, "searchers": ("random", "regularized_evolution"), "repeat": 1, "budget": 12, "workers": 1}
    yield Undertaking("sweep", "sweep", ("as-vit",), several, extent="long", is_continued=True)


TRUTH = "truth.csv"


def truth_table() -> str:
    """CSV of small vision transformers with made-up labels."""
    lines = ["patch_size,embed_dim,depth,num_heads,mlp_ratio,top1,loss"]
    for number, (width, depth, ratio) in enumerate(product((24, 48), (1, 2, 3), (2, 4))):
        top1 = 50 + width / 8 + 2 * depth + number * 7 % 5
        lines.append(f"16,{width},{depth},3,{ratio},{top1},{3 - top1 / 50 + number * 3 % 7 / 20}")
    return "\n".join(lines) + "\n"


_BENCH: Values = {
    "labels": ("top1", "loss:min"),
    "proxies": ("synflow", "length_distortion", "ntk_condition"),
    "combine": ("synflow+ntk_condition", "0.25*synflow+length_distortion:min_max"),
    "within": ("embed_dim",),
    "img_size": 32,
    "data": "digits",
    "batch_size": 4,
    "resamples": 50,
    "settings": _ONE_DRAW,
    "workers": 0,
}

# -- trainings and exports ---------------------------------------------------------------------------------------------

_TRAIN: Values = {
    "data": "digits",
    "max_images": 160,
    "img_size": 32,
    "epochs": 2,
    "batch_size": 32,
    "augment": "light",
    "lr": 1e-3,
    "threads": 1,
    "loader_processes": 0,
    "loggers": (),
    "workers": 0,
}
_RESNET: Values = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4, "label_smoothing": 0.0}
_TRAINED: Mapping[str, tuple[str, str, Values]] = {
    "light": (
        "as-vit",
        SMALL,
        {"accumulation": 2, "ema_decay": 0.9, "drop_path_rate": 0.3, "clip_grad": 1.0, "retokenize": "0:8:2,1:4:1"},
    ),
    "strong": ("as-vit", SMALL, {"augment": "strong", "loader_processes": 1}),
    "bfloat16": ("as-vit", SMALL, {"augment": "none", "precision": "bfloat16", "epochs": 1}),
    "vit": ("vit", "p16-w96-d4-h3-m2", {"augment": "strong", "drop_path_rate": 0.2, "accumulation": 2}),
    "autoformer-tiny": ("autoformer-tiny", "w192-m3.5,4,4-h3,3,4", {"epochs": 1}),
    "autoformer-tiny-plain": ("autoformer-tiny-plain", "w192-m3.5,4,4-h3,4,3", {"epochs": 1}),
    "pit": ("pit-tiny", "b16-m2-d1,4,2-h2,4,8", {"epochs": 1}),
    "resnet": ("resnet", "resnet8-w8", _RESNET),
    "resnet-ema": ("resnet", "resnet8-w8", {**_RESNET, "ema_decay": 0.9, "augment": "strong", "epochs": 1}),
    "distilled": (
        "vit",
        "p16-w96-d4-h3-m2",
        {"teacher": f"{RUN_OF}train/resnet", "logit_weight": 0.5, "temperature": 2.0, "label_smoothing": 0.0},
    ),
    "distilled-hard": (
        "as-vit",
        SMALL,
        {"teacher": "random:resnet8-w8", "logit_weight": 0.5, "logit_targets": "hard", "accumulation": 2, "epochs": 1},
    ),
    "two-workers": ("as-vit", SMALL, {"workers": 2, "drop_path_rate": 0.2, "ema_decay": 0.9}),
}
"""Space, architecture, and settings beside those of all."""


def _trainings() -> Iterator[Undertaking]:
    for name, (space, architecture, own) in _TRAINED.items():
        given = {**_TRAIN, **own, "space": space}
        extent = "quick" if name in ("light", "strong", "resnet", "distilled") else "usual"
        extent = "long" if own.get("workers") else extent
        yield Undertaking(f"train/{name}", "train", (architecture,), given, "", extent, is_continued=name == "light")


def _exports() -> Iterator[Undertaking]:
    for space, (architectures, img_size) in SCORED.items():
        given = {"space": space, "img_size": img_size, "num_classes": 10, "untrained": True, "seed": 5}
        extent = "quick" if space in ("as-vit", "vit") else "usual"
        if space != "timm":
            yield Undertaking(f"export/{space}", "export", (architectures[0],), given, extent=extent)
    for name, checkpoint in (("light", "last"), ("light", "best"), ("resnet", "last"), ("distilled", "best")):
        source = f"{RUN_OF}train/{name}"
        yield Undertaking(
            f"export/{name}-{checkpoint}", "export", (source,), {"checkpoint": checkpoint}, extent="quick"
        )
