"""The documentation: built strictly, complete, and true of the tree where that can be checked."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raynas
from raynas.proxies.registered import proxies
from raynas.searchers.registered import searchers
from raynas.space.registered import models, spaces
from raynas.training.objectives.objective import objectives

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("zensical", "mkdocstrings_handlers")),
    reason="needs the extra docs: pip install 'raynas[docs]'",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as the documentation says, of a copy, so that nothing is written into the tree."""
    copy = tmp_path_factory.mktemp("documentation")
    shutil.copytree(ROOT / "docs", copy / "docs")
    shutil.copytree(ROOT / "examples", copy / "examples")
    shutil.copy(ROOT / "zensical.toml", copy)
    done = _built(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "site"


def _built(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _ids(page: Path) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))


@needs_extra
def test_every_command_has_its_place_with_all_its_options(site: Path) -> None:
    from typer.main import get_command

    from raynas.cli import app

    page = site / "reference" / "commands.html"
    text = page.read_text(encoding="utf-8")
    top = get_command(app).commands  # type: ignore[attr-defined]
    groups = {name: one.commands for name, one in top.items() if hasattr(one, "commands")}
    assert groups.keys() == {"bench", "supernet"}
    commands = {f"raynas-{name}": one for name, one in top.items() if name not in groups}
    commands |= {f"raynas-{group}-{name}": one for group, own in groups.items() for name, one in own.items()}
    assert commands.keys() <= _ids(page)
    for command in commands.values():
        for option in command.params:
            assert max(option.opts, key=len) in text


@needs_extra
def test_every_public_name_has_its_place(site: Path) -> None:
    assert {f"raynas.{name}" for name in raynas.__all__} <= _ids(site / "reference" / "python.html")


REGISTERED = """
from raynas.proxies.registered import proxies
from raynas.searchers.registered import searchers
from raynas.space.registered import models, spaces

for registry in (spaces, models, proxies, searchers):
    print(*registry)
"""


@needs_extra
def test_every_registered_name_and_every_setting_has_its_place(site: Path) -> None:
    from raynas.searching.config import RunConfig
    from raynas.training.config import TrainConfig

    names = (site / "reference" / "names.html").read_text(encoding="utf-8")
    # Of a process of its own: in this one, tests before may have read spaces and models of a user's.
    registered = subprocess.run([sys.executable, "-c", REGISTERED], capture_output=True, text=True, check=True).stdout
    assert len(registered.split()) > 50
    assert [name for name in registered.split() if f"<code>{name}</code>" not in names] == []
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    for configuration in (RunConfig, TrainConfig):
        assert [name for name in configuration.model_fields if f"<code>{name}</code>" not in settings] == []


@needs_extra
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?(https?://[^">\s]+)', page.read_text())
        assert loaded == [], page.name


@needs_extra
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("[away](nowhere.md)", "page does not exist"),
        ("[away](start.md#no-such-section)", "anchor does not exist"),
        ("::: raynas.no_such_function", "Could not collect"),
        ("[here](start.md)", None),
    ],
)
def test_what_leads_nowhere_fails_the_build(tmp_path: Path, line: str, complaint: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "start.md").write_text("# Start\n\n## A section\n")
    settings = (ROOT / "zensical.toml").read_text()
    nav = re.compile(r"^nav = \[\n.*?^\]\n", re.MULTILINE | re.DOTALL)
    (tmp_path / "zensical.toml").write_text(nav.sub("", settings, count=1))
    (docs / "index.md").write_text(f"# Title\n\n[here](start.md#a-section)\n\n{line}\n")
    done = _built(tmp_path)
    assert bool(done.returncode) is bool(complaint), done.stdout + done.stderr
    assert (complaint or "No issues found") in done.stdout + done.stderr


def test_generated_parts_are_what_the_code_says_and_others_are_found() -> None:
    # In a process of its own: in this one, tests before may have read spaces and models of a user's.
    check = [sys.executable, "-m", "docs.generated", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), f"run python -m docs.generated: {done.stdout}{done.stderr}"


def test_a_part_is_replaced_and_one_of_nothing_is_an_error() -> None:
    from docs.generated import with_parts

    page = "a\n\n<!-- {{ list objectives }} -->\nof before\n<!-- end -->\n\nb\n"
    new = with_parts(page)
    assert "of before" not in new and new.startswith("a\n") and new.endswith("<!-- end -->\n\nb\n")
    assert all(f"| `{name}` |" in new for name in objectives)
    assert with_parts(new) == new
    for wrong in ("list nothings", "nothing", "file nowhere.py"):
        with pytest.raises((ValueError, KeyError, OSError)):
            with_parts(page.replace("list objectives", wrong))


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_modules_that_a_page_names_exist(text: Path) -> None:
    content = text.read_text(encoding="utf-8")
    files = re.findall(r"`((?:raynas|searchspaces|tests|benchmarks|examples|docs)/[\w./-]*)`", content)
    own = [name for name in files if not re.search(r"/(?:NAME|KIND|test_NAME_\w+)\.py$", name)]
    assert [name for name in own if not (ROOT / name).exists()] == []
    groups = {registry.group for registry in (spaces, models, proxies, searchers, objectives)}
    for name in re.findall(r"(?:`|import |from |^::: )(raynas(?:\.\w+)+)", content, re.MULTILINE):
        assert name in groups or _exists(name), name


def _exists(name: str) -> bool:
    """Whether a dotted name is a module, or what one has."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_constants_that_a_page_puts_in_a_file_are_there(text: Path) -> None:
    """Such as `SCHEMA` in `raynas/storage/result_store.py`."""
    pairs = re.findall(
        r"`([\w.]+)(?: = \d+)?`(?: of|,)? (?:in|of) `(\w+/[\w/]+\.py)`", text.read_text(encoding="utf-8")
    )
    for name, file in pairs:
        source = (ROOT / file).read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", source), f"{name} is not in {file}"


def test_names_on_the_pages_for_maintainers_are_those_of_the_code() -> None:
    """Each word in code letters that has an underscore, or is a call."""
    sources = [*ROOT.glob("raynas/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("raynas/report/assets/*.js")]
    known = {word for file in sources for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    for page in (ROOT / "docs" / "maintain").glob("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        named = re.findall(r"`(\w*[a-zA-Z]_[a-zA-Z]\w*|\w+(?=\())[^`]*`", text)
        assert [name for name in named if name not in known and not name.startswith("NAME_")] == [], page.name


def test_every_column_on_disk_is_described() -> None:
    from raynas.bench.correlations import SCHEMA as CORRELATIONS
    from raynas.storage.result_store import SCHEMA as EVALUATIONS
    from raynas.training.folder import METRICS

    named = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "maintain" / "formats.md").read_text(encoding="utf-8")))
    for schema in (EVALUATIONS, METRICS, CORRELATIONS):
        own = [name for name in schema.names if not name.endswith(("_low", "_high"))]
        assert [name for name in own if name not in named] == []


def test_every_status_is_explained() -> None:
    from raynas.space.results import Status

    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert [status for status in Status if f"| `{status}` |" not in page] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_a_page_shows_have_options_that_exist(text: Path) -> None:
    from typer.main import get_command

    from raynas.cli import app

    content = text.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```sh\n(.*?)^```", content, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^    raynas .*$", content, re.MULTILINE)
    for line in re.findall(r"^ *(raynas .*)$", "\n".join(blocks), re.MULTILINE):
        words = re.sub(r'"[^"]*"|\'[^\']*\'', "TEXT", line.partition("#")[0].split("    ")[0]).split()[1:]
        command = get_command(app)
        while hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        known = {flag for one in command.params for flag in one.opts}
        assert [word for word in words if word.startswith("-") and word not in known] == [], line


def test_readme_is_short_and_starts_as_promised() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "    pip install uv && uv run raynas search\n" in text
    assert "    pip install uv && uv run --extra test pytest\n" in text


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_lead_to_files(text: Path) -> None:
    """The strict build looks at links between pages, but not at pictures, nor at the files outside docs/."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (text.parent / target).exists(), target


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()}
    assert [name for name, size in sizes.items() if size > 150_000] == []
    assert sum(sizes.values()) < 1_200_000


def readme_commands() -> list[str]:
    """Every indented line of raynas in the README, without its comment, and whole where it is on several lines."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.sub(r"\\\n\s*", "", "".join(re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)))
    return [line.partition("   #")[0].strip() for line in re.findall(r"^    (raynas .*)$", blocks, re.MULTILINE)]


def test_commands_of_the_readme_take_what_a_clone_has() -> None:
    commands = [shlex.split(line) for line in readme_commands()]
    assert len(commands) >= 8
    made: set[str] = set()
    for words in commands:
        given = dict(itertools.pairwise(words))
        assert given.get("--data", "digits") == "digits", words
        named = [word.partition(":")[0] for word in words if word.startswith(("examples/", "runs/"))]
        taken = [name for name in named if name != given.get("--out")]
        assert all(name in made or (ROOT / name).exists() for name in taken), words
        made.add(given.get("--out", ""))


@pytest.mark.long
def test_commands_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for line in readme_commands():
        command = [sys.executable, "-m", "raynas.cli", *shlex.split(line)[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
