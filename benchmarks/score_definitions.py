"""Are the scores those that their definitions say, written out in loops?

    python benchmarks/score_definitions.py [--family NAME ...] [--quick]

Every value of every proxy, in float64, on small networks of six families, against the files in `definitions`, which
share nothing with `raynas.proxies`. They follow the papers and their code, with the departures that `raynas list
proxies` tells.
Expected: all equal to 1e-9 of the value, or to the bound below where the arithmetic allows no more. What a family has
not, the proxy must tell (not applicable).
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Mapping

import torch
from definitions import activations, geometry, pretraining, saliency
from definitions.case import Case, Values
from definitions.families import FAMILIES, IMG_SIZE
from timing import hardware

import raynas.proxies  # noqa: F401  (registers them)
from raynas.errors import NotApplicableError
from raynas.models.networks import redraw
from raynas.proxies.probe import Probe, Proxy
from raynas.proxies.registered import proxies, unmeasured
from raynas.space.architecture import Architecture

BOUND = 1e-9
BOUNDS = {
    "dss": (1e-6, 0.0),  # nuclear norms by the eigenvalues of Gram matrices, whose rounding has a square root
    "curvature": (1e-6, 0.0),  # the textbook's formula is a difference of nearly equal numbers
    "gauss_length": (1e-6, 0.0),
    "curvature (repo_compat)": (1e-6, 0.0),
    "ntk_condition": (1e-6, 0.0),  # the smallest eigenvalue is known to a rounding of the largest
    "ntk_condition_logits": (1e-6, 0.0),
    "zico": (1e-6, 0.0),  # a deviation of nearly equal gradients is known to a rounding of these
    "meco": (BOUND, 1.0),  # a smallest eigenvalue may be 0, and is known to a rounding of the largest
    "meco_opt": (BOUND, 1.0),
    "az_progressivity": (BOUND, 1.0),  # a difference
}
"""Of values that have bounds of their own: the relative one, and the size below which it is of this size."""
CURVES = ("length_distortion", "curvature", "gauss_length")


def defined(name: str, case: Case) -> Values:
    """The values of a proxy by its definition."""
    if name in CURVES:
        found = geometry.curves(case) or {}
        return {key: value for key, value in found.items() if key.split()[0] == name}
    module = next(module for module in (saliency, activations, geometry, pretraining) if name in vars(module))
    values: Values = vars(module)[name](case)
    return values


def scored(proxy: Proxy, case: Case) -> Values:
    """The values of a proxy by raynas."""

    def probe() -> Probe:
        maps = {-1: case.teacher}
        return Probe(
            Architecture({}), copy.deepcopy(case.model), img_size=IMG_SIZE, images=case.images, labels=case.labels,
            teacher=lambda stages: [maps[stage] for stage in stages],
        )  # fmt: skip

    try:
        values = proxy(probe())
    except NotApplicableError:
        return None
    if proxy.name in CURVES:
        theirs = proxy.configured(repo_compat=True)(probe())
        values |= {f"{name} (repo_compat)": value for name, value in theirs.items()}
    return values


def apart(first: Values, second: Values) -> Mapping[str, float]:
    """Relative differences of values, over their bounds; infinite where one side has a value alone."""
    if first is None or second is None or first.keys() != second.keys():
        return {} if first is second else {"applicable": float("inf")}
    shares = {}
    for name, value in second.items():
        bound, floor = BOUNDS.get(name, (BOUND, 0.0))
        same = first[name] == value
        shares[name] = 0.0 if same else abs(first[name] - value) / (bound * max(abs(value), floor))
    return shares


def main() -> int:
    """Compare, and print the values that are apart and how many there are; 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--family", action="append", choices=list(FAMILIES), help="some of the families alone")
    parser.add_argument("--quick", action="store_true", help="one family, to see that the script works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{len(unmeasured())} proxies, float64, {IMG_SIZE} pixels; {hardware()}")
    total = 0
    for family in arguments.family or list(FAMILIES)[: 1 if arguments.quick else None]:
        torch.manual_seed(0)
        cases = {"model": FAMILIES[family]()}
        count = wrong = 0
        for name in unmeasured():
            proxy = proxies.get(name)
            if proxy.init not in cases:
                cases[proxy.init] = copy.deepcopy(cases["model"])
                redraw(cases[proxy.init].model, proxy.init)
            found, expected = scored(proxy, cases[proxy.init]), defined(name, cases[proxy.init])
            shares = apart(found, expected)
            count += len(shares)
            for value, share in shares.items():
                if not share <= 1:
                    wrong += 1
                    print(f"{family}, {name}, {value}: {share:.3g} times its bound apart, {found} for {expected}")
        print(f"{family}: {count} values, {wrong} apart")
        total += wrong
    print("all equal" if not total else f"{total} values NOT equal")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
