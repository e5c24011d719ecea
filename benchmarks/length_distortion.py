"""How much faster is the exact velocity of a curve than one backward pass for every feature?

    python benchmarks/length_distortion.py [--quick]

Both sides score the same weights (As-ViT seed, 64 pixels, 10 points, float64, one draw) on one thread, interleaved.
Expected: at least 80 times faster, with scores equal to 1e-9 relative. Measured: 139 and 153 times (54 ms against
7.5 s) on one core of a shared AMD EPYC, torch 2.15.
"""

from __future__ import annotations

import argparse

import torch
from timing import hardware, interleaved_medians, verdict
from torch import Tensor, nn

from raynas.models.families.as_vit import AsViT
from raynas.proxies import curve
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from searchspaces.as_vit import as_vit

EXPECTED = 80


def by_backward_passes(probe: Probe, points: int) -> float:
    """Length distortion by one backward pass through all points for every feature."""
    with curve.measured(probe.model, norms=False), torch.enable_grad():
        x, dx = curve.circle(probe, points=points, radius=1.0, endpoint=False)
        x.requires_grad_()
        features: Tensor = probe.model.pooled_features(x)  # type: ignore[operator]
        columns = []
        for feature in features.unbind(1):
            (gradient,) = torch.autograd.grad(feature.sum(), x, retain_graph=True)
            columns.append((gradient * dx).flatten(1).sum(1))
    return float(torch.stack(columns, 1).norm(dim=1).mean())


def main() -> None:
    """Measure, and print both times, the ratio and the scores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    quick = parser.parse_args().quick
    img_size, points, rounds = (32, 3, 1) if quick else (64, 10, 5)

    torch.set_num_threads(1)
    torch.manual_seed(0)
    seed = as_vit.named["seed"].replace(embed_dim=4 if quick else 32)
    model: nn.Module = AsViT(seed, img_size=img_size, num_classes=10, pos_embed=False, dtype=torch.float64)
    model.eval().requires_grad_(False)
    proxy = proxies.get("length_distortion").configured(points=points)

    def score() -> float:
        return proxy(Probe(seed, model, img_size=img_size))["length_distortion"]

    def slow_score() -> float:
        return by_backward_passes(Probe(seed, model, img_size=img_size), points)

    value, slow_value = score(), slow_score()
    assert abs(value / slow_value - 1) < 1e-9, f"scores differ: {value} and {slow_value}"
    medians = interleaved_medians({"raynas": score, "backward passes": slow_score}, rounds)
    print(f"As-ViT {as_vit.text(seed)}, {img_size} pixels, {points} points, float64, {rounds} rounds; {hardware()}")
    print(f"score {value:.12g}, by backward passes {slow_value:.12g}: equal to 1e-9")
    for name, seconds in medians.items():
        print(f"{name}: {seconds * 1e3:.1f} ms")
    print(f"ratio: {verdict(medians['backward passes'] / medians['raynas'], EXPECTED)}")


if __name__ == "__main__":
    main()
