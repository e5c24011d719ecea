"""The benchmarks: scripts of this folder, what is expected of them, and where their figures stand in what they print.

A script runs by itself, `python benchmarks/NAME.py`, and prints what it finds; its docstring begins with the question.
Here stands what makes it one of many: which lines are figures. So a script of another commit, which knows nothing of
this file, is compared with the present one by what both print. All of them stand in one file, since they are one list.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """A number that a benchmark prints.

    Args:
        name: What it is; an identifier.
        pattern: Of the text around it, with groups `value` and, where it is one of several of a kind, `item`.
        unit: "x", "%", "s", "per second" and the like.
        is_higher_better: Which way is good; None: neither.
    """

    name: str
    pattern: str
    unit: str
    is_higher_better: bool | None = None


@dataclass(frozen=True)
class Found:
    """A figure's value.

    Args:
        figure: Which.
        item: Of several of a kind, the one; "" if it is alone.
        value: In the figure's unit.
        is_met: What the line says of an expectation; None if it names none, or the figure is neither good nor bad.
    """

    figure: Figure
    item: str
    value: float
    is_met: bool | None


@dataclass(frozen=True)
class Shown:
    """A row of the table of docs/performance.md of speeds.

    Args:
        what: Its first cell.
        measured: Its second, with figures by name in braces, and by NAME_least and NAME_most, with _item at the end
            their items, where there are several of a kind.
        arguments: With which the benchmark runs.
        is_headline: Whether it stands in the README, too.
    """

    what: str
    measured: str
    arguments: str = ""
    is_headline: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A script, and what to make of it.

    Args:
        name: NAME.py in this folder.
        expectation: What it should come to.
        hardware: On which that is expected.
        figures: In what it prints.
        says: Texts that it prints besides, on the smallest setting too.
        shown: Rows of the table of docs/performance.md.
        needs: Arguments without which it cannot run, in words; "" if there are none.
        not_settings: Options, with one value each, that do not change what is measured.
        needs_gpu: Whether it runs on a GPU only, save on the smallest setting.
    """

    name: str
    expectation: str
    figures: tuple[Figure, ...]
    hardware: str = "one CPU core"
    says: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()
    needs: str = ""
    not_settings: tuple[str, ...] = ("--out", "--results", "--tables")
    needs_gpu: bool = False

    @property
    def path(self) -> Path:
        """The script."""
        return FOLDER / f"{self.name}.py"

    @property
    def question(self) -> str:
        """The first sentence of its docstring, which ends with a question mark."""
        said = ast.get_docstring(ast.parse(self.path.read_text())) or ""
        return said.partition("?")[0] + "?"

    def setting(self, arguments: Sequence[str]) -> list[str]:
        """The arguments that say what is measured; names of files, which differ from machine to machine, left out."""
        kept: list[str] = []
        words = iter(arguments)
        for word in words:
            if word in self.not_settings:
                next(words, None)
            else:
                kept.append("parquet:FILE" if word.startswith("parquet:") else word)
        return kept

    def found_in(self, printed: str) -> list[Found]:
        """All figures in what the script printed, in the order of the registration."""
        return [
            Found(
                figure,
                match.groupdict().get("item") or "",
                float(match["value"].replace(",", "")),
                None if figure.is_higher_better is None else _is_met(match),
            )
            for figure in self.figures
            for match in re.finditer(figure.pattern, printed, re.MULTILINE)
        ]


def _is_met(match: re.Match[str]) -> bool | None:
    """What the rest of a figure's line says."""
    rest = match.group() + match.string[match.end() :].partition("\n")[0]
    said = re.search(r"\b(NOT )?met\b", rest)
    return None if said is None else said[1] is None


_VALUE = r"(?P<value>-?[\d,]*\.?\d+)"


def _faster(prefix: str, name: str = "ratio") -> Figure:
    return Figure(name, rf"{prefix}{_VALUE} x \(expected", "x", True)


def _beside(line: str, name: str) -> Figure:
    """Of proxy_passes: how many times a plain pass a score takes."""
    return Figure(name, rf"^{line}: \d+ ms, {_VALUE} x ", "x", False)


def _of_step(line: str, name: str, *, is_asked: bool = True) -> Figure:
    """Of supernet_step: how many times as long as what it stands beside something takes, by side and precision."""
    return Figure(name, rf"^(?P<item>\d+ px \w+) {line}: [\d.]+ ms, {_VALUE} x ", "x", False if is_asked else None)


BENCHMARKS = (
    Benchmark(
        "length_distortion",
        "at least 80 times faster, equal to 1e-9",
        (_faster("^ratio: "),),
        says=("equal to 1e-9",),
        shown=(
            Shown(
                "length distortion, against a backward pass per feature",
                "{ratio:.0f} times faster, equal to 1e-9",
                is_headline=True,
            ),
        ),
    ),
    Benchmark(
        "ntk_condition",
        "at least 8 times faster than backward passes through the batch, 3 times than passes per image",
        (
            _faster("^ratio to through the batch: ", "through_the_batch"),
            _faster("^ratio to per image: ", "per_image"),
        ),
        says=("equal to 1e-5",),
        shown=(
            Shown(
                "NTK, against backward passes through the batch / per image",
                "{through_the_batch:.1f} / {per_image:.1f} times faster",
            ),
        ),
    ),
    Benchmark(
        "score_definitions",
        "all equal to 1e-9, or to the bound that is stated for the value",
        (Figure("apart", rf"^(?P<item>\w+): \d+ values, {_VALUE} apart$", "values", False),),
        says=("all equal",),
    ),
    Benchmark(
        "loop_throughput",
        "at least 5,000 evaluations per second, 200 MB of growth, load_run 2 s, resume 5 s beyond a start, at 100,000",
        (
            Figure("rate", rf"evaluations: {_VALUE} per second", "per second", True),
            Figure("growth", rf"driver memory grew by {_VALUE} MB", "MB", False),
            Figure("load", rf"load_run of [\d,]+ rows: {_VALUE} s", "s", False),
            Figure("resume", rf"resume to the first new evaluation: {_VALUE} s", "s", False),
            Figure("resume_beyond_start", rf"resuming beyond the start: {_VALUE} s", "s", False),
        ),
        hardware="two CPU cores",
        says=("load_run of 6,000 rows",),
        shown=(
            Shown(
                "the loop with a proxy that does nothing, two actors",
                "{rate:,.0f} evaluations per second",
                is_headline=True,
            ),
        ),
    ),
    Benchmark(
        "own_code",
        "under a millisecond for each call",
        (Figure("guard", rf"^looking after a call takes {_VALUE} us \(expected", "us", False),),
    ),
    Benchmark(
        "scoring_workers",
        "two actors at least 1.8 times as fast, of whose time 90 % is scoring",
        (
            _faster("^two actors are faster by "),
            Figure("share", rf"^actors score for {_VALUE} of their time", "", True),
        ),
        hardware="two idle CPU cores",
        shown=(Shown("two actors against one process", "{ratio:.1f} times", is_headline=True),),
    ),
    Benchmark(
        "scaling",
        "workers that only wait work 95 % of their time, 1,000 simulated ones 98 %",
        (
            Figure("real", rf"^(?P<item>\d+) real workers: efficiency {_VALUE} \(", "", True),
            Figure("start", rf"^(?P<item>\d+) real workers: all had answered once after {_VALUE} s", "s", False),
            Figure("simulated", rf"^(?P<item>\d+) simulated workers: efficiency {_VALUE} \(", "", True),
        ),
        hardware="two CPU cores",
        shown=(
            Shown(
                "share of their time that 2, 16 and 64 workers work which only wait",
                "{real_least:.1%} to {real_most:.1%}",
            ),
        ),
    ),
    Benchmark(
        "elasticity",
        "a node that joins gives its first result within 10 s, what a killed worker had begins again within 5 s",
        (
            Figure("joined", rf"^(?P<item>[a-z ]+): first result of a node that joins after {_VALUE} s", "s", False),
            Figure("rerun", rf"^(?P<item>[a-z ]+): what a killed one had begins again after {_VALUE} s", "s", False),
        ),
        hardware="two CPU cores",
    ),
    Benchmark(
        "soak",
        "no evaluation lost, twice or wrong, and a driver whose memory grows as in an undisturbed search, within 40 MB",
        (
            Figure("wrong", rf"^evaluations that are missing, twice or wrong: {_VALUE} \(", "evaluations", False),
            Figure("growth", rf"^driver memory grew by {_VALUE} MB", "MB", False),
            Figure("growth_of_losses", rf"^losses cost {_VALUE} MB", "MB", False),
        ),
        hardware="two CPU cores",
    ),
    Benchmark(
        "build_share",
        "under 10 % of every score that needs a forward pass",
        (
            Figure("building", rf"^(?P<item>\w+): \d+ ms a score, {_VALUE}% of it building .*under", "%", False),
            Figure("score", rf"^(?P<item>\w+): {_VALUE} ms a score", "ms", False),
        ),
        shown=(
            Shown(
                "building and initialising, of a score of As-ViT at 64 px",
                "{building_least:.0f} to {building_most:.0f} %",
            ),
            Shown(
                "of AutoFormer-Tiny at 224 px",
                "at most {building_most:.0f} % (`{building_most_item}`)",
                "--space autoformer-tiny --img-size 224",
            ),
        ),
    ),
    Benchmark(
        "proxy_passes",
        "saliencies together 1.3 times the dearest, dss 2 times, AZ-NAS 1.5 times, TVT 1.2 times plain passes at most",
        (
            _beside(".* together", "together"),
            _beside("dss", "dss"),
            _beside("tvt, teacher's features cached", "tvt"),
            _beside("az_nas at batch \\d+", "az_nas"),
            Figure("memory", rf"{_VALUE} MiB", "MiB", False),
        ),
        hardware="two CPU cores",
        shown=(
            Shown("five first-order saliencies together, against the dearest of them alone", "{together:.1f} times"),
            Shown("`dss`, against a forward and backward pass of one image, float64", "{dss:.1f} times"),
            Shown("`tvt` with the teacher's features cached, against a forward pass of the batch", "{tvt:.1f} times"),
            Shown(
                "`az_nas` at batch 64, against a forward and backward pass of the batch",
                "{az_nas:.1f} times, in {memory:,.0f} MiB",
            ),
        ),
    ),
    Benchmark(
        "growth_workers",
        "two actors at least 1.8 times as fast, of whose time 90 % is scoring",
        (
            _faster("^two actors are faster by "),
            Figure("share", rf"^actors score for {_VALUE} of their time", "", True),
        ),
        hardware="two idle CPU cores",
        says=("2 steps without the first",),
        shown=(Shown("candidates of a growth step at 128 px, two actors against one", "{ratio:.1f} times"),),
    ),
    Benchmark(
        "training_workers",
        "two workers at least 1.7 times as fast",
        (_faster("^two workers are faster by "),),
        hardware="two idle CPU cores",
        shown=(
            Shown(
                "images per second of a supernet's training, two workers against one",
                "{ratio:.1f} times",
                "--data parquet:FILE --steps 6",
            ),
        ),
    ),
    Benchmark(
        "supernet_search",
        "two actors at least 1.8 times as fast as one; inheriting at most 5 % more than the forward passes",
        (
            _faster("^two actors are faster by "),
            Figure("inheriting", rf"^inheriting takes {_VALUE} x", "x", False),
        ),
        hardware="two idle CPU cores",
        shown=(
            Shown(
                "members of a supernet evaluated, two actors against one; a member against its forward passes alone",
                "{ratio:.1f} times; {inheriting:.2f} times",
                "--img-size 32 --budget 40",
            ),
        ),
    ),
    Benchmark(
        "as_vit_search",
        "under 15 minutes at 224 px, of which building is the least part",
        (
            Figure("total", rf"^total {_VALUE} minutes", "minutes", False),
            Figure("passes", rf"^workers in all, .*passes [\d.]+ s \({_VALUE}%\)", "%"),
            Figure("building", rf"^workers in all, .*building [\d.]+ s \({_VALUE}%\)", "%", False),
            Figure("transfers", rf"^workers in all, .*transfers [\d.]+ s \({_VALUE}%\)", "%", False),
            Figure("waiting", rf"^workers in all, .*waiting [\d.]+ s \({_VALUE}%\)", "%", False),
        ),
        hardware="one GPU of the class of an H200",
        says=("search: 6 evaluations", "growth: ", "transfers 0.00 s"),
        shown=(
            Shown(
                "As-ViT's whole search at 64 px, 500 steps and growth to 80 million parameters, two actors",
                "{total:.1f} minutes; of the workers' time passes are {passes:.0f} %, building {building:.0f} %, "
                "transfers {transfers:.1f} %, waiting {waiting:.1f} %",
                "--img-size 64 --workers 2",
                is_headline=True,
            ),
        ),
    ),
    Benchmark(
        "retokenization",
        "at least 25 % of the time on a CPU; on a GPU within 10 points of the multiply-adds saved",
        (
            Figure("multiply_adds", rf"multiply-adds saved: {_VALUE}%", "%"),
            Figure("time", rf"time saved: {_VALUE}%", "%", True),
        ),
        hardware="two CPU cores, or one GPU",
        says=(" epochs at stride 16: ",),
        shown=(
            Shown(
                "training re-tokenized on the published schedule, digits at 64 px, epochs in turns",
                "{time:.0f} % of the time saved, of {multiply_adds:.0f} % of the multiply-adds",
            ),
        ),
    ),
    Benchmark(
        "supernet_step",
        "2 sub-networks at most 1.1 times, 2 of half the multiply-adds 0.65 times, 4 1.15 times the largest network's "
        "step; 4 in one pass at most 1.03 times those one by one; LayerNorm by masks at most 1.5 times a plain one, a "
        "member at most 1.05 times a network built anew",
        (
            _of_step("2 largest", "largest_pair"),
            _of_step("2 large", "large_pair"),
            _of_step("2 sampled", "pair"),
            _of_step("2 halves", "halves"),
            _of_step("4 largest", "largest_four"),
            _of_step("4 large", "large_four"),
            _of_step("4 sampled", "four"),
            _of_step("2 sampled by masks", "masks", is_asked=False),
            _of_step("2 halves by masks", "masks_of_halves", is_asked=False),
            _of_step("a member extracted", "extracted"),
            _of_step("a member in the supernet", "in_supernet", is_asked=False),
            _of_step("a member searched on [\\d,]+ images", "searched"),
            Figure("norm", rf"^LayerNorm by masks: [\d.]+ ms, {_VALUE} x ", "x", False),
            Figure("rate", rf"^(?P<item>tiny|small|medium): {_VALUE} images per second", "per second", True),
        ),
        hardware="two CPU cores, or one GPU",
        says=("vit-res-nano, batch 4, ", "halves have 0.5"),
        shown=(
            Shown(
                "a supernet's step with two sampled members, with two of half the multiply-adds, against the largest "
                "network's, at 32 and 64 px",
                "at most {pair_most:.3f}, at most {halves_most:.3f} times",
                is_headline=True,
            ),
            Shown("four members in one pass, against one pass each", "at most {four_most:.3f} times"),
            Shown("the same steps by masks, against slices", "{masks_least:.1f} to {masks_of_halves_most:.1f} times"),
        ),
    ),
    Benchmark(
        "pretraining_step",
        "a masked step at most 0.45 of a supervised one, a teacher adds at most its own pass, likeness of 13 x "
        "13 layers at most 1.3 times plain passes, under 5 % of the steps waiting",
        (
            Figure("masked", rf"^masked step: [\d.]+ ms, {_VALUE} x ", "x", False),
            Figure("teacher", rf"^a teacher adds {_VALUE} x ", "x", False),
            Figure("likeness", rf"^likeness of .* s, {_VALUE} x ", "x", False),
            Figure("waiting", rf"^waiting for images: {_VALUE} % ", "%", False),
        ),
        hardware="two CPU cores, or one GPU",
        says=("supervised step: ",),
        shown=(
            Shown(
                "a masked autoencoder's step of ViT-Tiny with 64 patches, against a supervised step",
                "{masked:.2f} times",
                is_headline=True,
            ),
            Shown("what a teacher's attention adds to it, against the teacher's own pass", "{teacher:.2f} times"),
            Shown("comparing all layers of two ViT-Tiny on 1,024 images, against plain passes", "{likeness:.2f} times"),
        ),
    ),
    Benchmark(
        "pretraining_study",
        "nothing: it says which claims hold in its setting",
        (
            Figure("top1", rf"^(?P<item>[\w-]+ at \d+% of the labels): {_VALUE} %", "%"),
            Figure("claim", rf"^claim (?P<item>[^:]+): \+?{_VALUE} \+- ", ""),
        ),
        hardware="two CPU cores, or one GPU",
        needs="--data IMAGES --test-data IMAGES --out FOLDER",
        says=("claim 1 lower layers suffice", "claim 2 MAE makes attention local", "claim 3 attention distillation"),
        not_settings=("--data", "--test-data", "--out", "--results"),
    ),
    Benchmark(
        "data_waiting",
        "under 5 % of a step",
        (
            Figure("waiting", rf"^(?P<item>light|strong): [\d,]+ images per second, {_VALUE}% of a step", "%", False),
            Figure("rate", rf"^(?P<item>light|strong): {_VALUE} images per second", "per second", True),
        ),
        hardware="two CPU cores, or one GPU",
        shown=(
            Shown(
                "a step's wait for data, CIFAR-10 at 64 px",
                "at most {waiting_most:.1f} % ({waiting_most_item} augmentation)",
                "--data parquet:FILE",
            ),
        ),
    ),
    Benchmark(
        "inspection",
        "under 30 s for 50,000 images",
        (
            Figure("seconds", rf"^(?P<item>table|folders): .* second: {_VALUE} s for 50,000", "s", False),
            Figure("rate", rf"^(?P<item>table|folders): .* decoded, {_VALUE} images per second", "per second", True),
        ),
        hardware="two CPU cores",
        says=("table: 600 images, 600 decoded",),
        shown=(
            Shown(
                "looking at 50,000 images before a run: PNG of 32 px in Parquet, or JPEG of 224 px in folders",
                "at most {seconds_most:.0f} s",
            ),
        ),
    ),
    Benchmark(
        "proxy_rates",
        "actors faster than the loop, and as many as share the device well",
        (
            Figure("best", rf"^best pool against the loop: {_VALUE} x", "x", True),
            Figure("together", rf"{_VALUE} x together$", "x", True),
        ),
        hardware="two CPU cores, or one GPU",
        says=("autoformer-tiny, 32 px", "synflow ", "of peak"),
    ),
    Benchmark(
        "gpu",
        "all tests pass, scores equal to 1e-4, the search under 15 minutes, as much time saved as multiply-adds to 10 "
        "points, under 5 % of a step waiting",
        (
            Figure("failed", rf"^tests: \d+ passed, {_VALUE} failed", "tests", False),
            Figure("apart", rf"^scores: .*; {_VALUE} differ by more than", "scores", False),
            Figure("sharing", rf"^rates: .* the best number of them {_VALUE} x as fast as one", "x", True),
            Figure("search", rf"^search: .*: {_VALUE} \+ [\d.]+ minutes", "minutes", False),
            Figure("growth", rf"^search: .* \+ {_VALUE} minutes", "minutes", False),
            Figure("time", rf"^retokens: {_VALUE}% of the time", "%", True),
            Figure("multiply_adds", rf"^retokens: .* and {_VALUE}% of the multiply-adds", "%"),
            Figure("params", rf"^retokens: .* {_VALUE} million parameters", "million parameters"),
            Figure("waiting", rf"(?:^waiting: waiting|,) {_VALUE}% at (?P<item>\d+ px [\w ]+) \(", "%", False),
        ),
        hardware="one GPU",
        not_settings=("--out", "--data", "--seconds"),
        needs_gpu=True,
        shown=(
            Shown(
                "As-ViT's whole search at 224 px on a GPU, one process, extrapolated",
                "{search:.1f} minutes for 500 steps, {growth:.1f} for growth to 80 million parameters",
                is_headline=True,
            ),
            Shown(
                "processes that share the GPU, the best of 1, 2, 4 and 8 against one, median of all proxies",
                "{sharing:.1f} times",
            ),
            Shown(
                "training re-tokenized on a GPU at 224 px",
                "{time:.0f} % of the time saved, of {multiply_adds:.0f} % of the multiply-adds, with {params:.0f} "
                "million parameters",
            ),
            Shown(
                "a step's wait for data on a GPU, CIFAR-10",
                "{waiting_least:.1f} % ({waiting_least_item}) to {waiting_most:.1f} % ({waiting_most_item})",
            ),
        ),
    ),
    Benchmark(
        "window_lag",
        "no loss that the interval over seeds shows up to an eighth of the budget",
        (
            Figure(
                "more",
                rf"^(?P<item>reinforce of \d+ on all, window \d+): .*, \+?{_VALUE} \+- [\d.]+ against window 1",
                "of the range",
            ),
        ),
        says=("reinforce of 60 on separable, window 16: regret ", "regularized_evolution of 60 on all"),
        not_settings=("--out", "--results", "--table", "--processes"),
    ),
    Benchmark(
        "supernet_sampling",
        "none: which way of sampling ranks sub-networks best is what is asked",
        (Figure("tau", rf"^(?P<item>multi|single|sandwich|alone): tau-b {_VALUE} ", "tau-b"),),
        hardware="two CPU cores for a small study, a GPU for one that decides",
        says=("members alone: ", "multi against sandwich: "),
    ),
    Benchmark(
        "latency_predictor",
        "eight predictors: Spearman's rho of 0.98, 87 to 93 % in 90 % intervals; at most 300 seconds for each",
        (
            Figure("rho", rf"^rho: {_VALUE} \(expected", "rho", True),
            Figure("rho_of_macs", rf"^rho of macs: {_VALUE}$", "rho"),
            Figure("held", rf"^held by 90 % intervals: {_VALUE} %", "%", True),
            Figure("held_else", rf"^by chance, .* while others learned: {_VALUE} %$", "%"),
            Figure("error", rf"^median error: {_VALUE} %$", "%"),
            Figure("seconds", rf"^seconds: {_VALUE} s \(expected", "s", False),
        ),
        hardware="two CPU cores that do nothing else",
        says=(" unseen; ",),
        shown=(
            Shown(
                "latency of unseen architectures, from 60 measurements; eight predictors",
                "Spearman's rho {rho:.3f} (MACs: {rho_of_macs:.3f}), {held:.0f} % in 90 % intervals "
                "(measured in other minutes: {held_else:.0f} %), {seconds:.0f} s",
            ),
        ),
    ),
    Benchmark(
        "as_vit_scores",
        "none: what scores say is what is asked",
        (
            Figure("tau", rf"^(?P<item>[a-z_]+(?: \+ [a-z_]+)*|all four) +{_VALUE} ", "tau-b"),
        ),
        hardware="two CPU cores for a small study, a GPU for one that decides",
        says=("5 topologies", "partial_tau"),
    ),
    Benchmark(
        "proxies_vit_bench",
        "none: what proxies say is what is asked",
        (Figure("num_params", rf"^  (?P<item>\w+): .*num_params {_VALUE}", "tau-b"),),
        hardware="two CPU cores at 64 px, a GPU at 224 px",
        says=("autoformer_tiny_plain: ", "c100_kd_acc: ", "imagenet_top1_supernet: "),
        needs="--tables DIR --data IMAGES",
    ),
)  # fmt: skip

HELPERS = ("__init__", "__main__", "as_vit_training", "equal_to_commit", "figures", "gpu_part", "gpu_runs",
           "gpu_scores", "picture", "registry", "running", "timing")  # fmt: skip
"""Files of this folder that measure no speed."""


def get(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        KeyError: There is none.
    """
    return {benchmark.name: benchmark for benchmark in BENCHMARKS}[name]
