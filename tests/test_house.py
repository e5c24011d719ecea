"""Which room may import which, what only one room does, how docstrings begin, and that these rules bite."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("raynas/**/*.py"), *ROOT.glob("searchspaces/*.py")])

VIOLATIONS = {
    "downwards": ("raynas/stats/quantiles.py", "from raynas.space.results import Status"),
    "cluster": ("raynas/cluster/resources.py", "from raynas.stats.pareto import pareto_front"),
    "training": ("raynas/training/loop.py", "from raynas.scoring.pool import Job"),
    "spaces": ("searchspaces/vit.py", "from raynas.searching.plan import Plan"),
    "no_space": ("raynas/report/page.py", "def drawn():\n    from searchspaces.vit import vit"),
    "light": ("raynas/searchers/base.py", "def started():\n    import ray"),
    "report": ("raynas/report/sweep.py", "from raynas.sweeps.run import execute_sweep"),
}
"""By the id of each contract in pyproject.toml, a file and a line that breaks it."""


def linted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_keep_their_contracts() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout


def test_each_contract_is_broken_by_an_import_against_it(tmp_path: Path) -> None:
    for name in ("raynas", "searchspaces"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in VIOLATIONS.values():
        with (tmp_path / file).open("a") as added:
            added.write(f"\n{line}\n")
    for contract in VIOLATIONS:
        done = linted(tmp_path, "--contract", contract)
        assert done.returncode == 1, contract
        assert "0 kept, 1 broken" in done.stdout, contract


MAY_WRITE = {
    "raynas/exporting/export.py": "an export is a folder of its own, made beside its place and moved there whole",
    "raynas/exporting/program.py": "a program in memory, which an export writes",
    "raynas/data/png.py": "a picture in memory, for a page",
    "raynas/latency/engines.py": "an ONNX file that lives as long as it is read, in a temporary folder",
    "raynas/cluster/ray_log.py": "what Ray says by itself, which is no result of a run",
    "raynas/storage/parquet.py": "a table, into a file that the door has opened",
    "raynas/storage/buckets.py": "an object, into a file that is empty and open",
}
"""Files beside raynas/storage/local_files.py that write, remove or lock files, and why they may."""

CHANGES_FILES = {
    *("write_text", "write_bytes", "touch", "unlink", "rename", "rmdir", "mkdir", "hardlink_to", "symlink_to"),
    *("makedirs", "removedirs", "rmtree", "copyfile", "copytree", "copymode", "truncate", "flock", "lockf"),
    *("mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile"),
}
"""What is called, as an attribute of whatever, to change files."""

CHANGES_FILES_OF = {"os": {"open", "remove", "replace", "link", "symlink"}, "shutil": {"copy", "copy2", "move"}}
"""Further functions of modules that change files."""

WRITES_TO = {"write_table", "ParquetWriter", "save", "savez", "save_file", "to_csv", "to_parquet", "save_model"}
"""Functions of libraries that write to a path or to an open file; an open file may be one of `write_atomically`."""


def changes_files(text: str) -> list[int]:
    """Lines at which a file of Python writes, removes, renames or locks files by itself."""
    found: list[int] = []

    def visit(node: ast.AST, opened: frozenset[str]) -> None:
        if isinstance(node, ast.With):
            calls = [(item.context_expr, item.optional_vars) for item in node.items]
            opened |= {
                target.id
                for call, target in calls
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "write_atomically"
                if isinstance(target, ast.Name)
            }
        if isinstance(node, ast.Call) and changes(node, opened):
            found.append(node.lineno)
        if isinstance(node, ast.Import | ast.ImportFrom) and "fcntl" in ast.unparse(node):
            found.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, opened)

    visit(ast.parse(text), frozenset())
    return found


def changes(call: ast.Call, opened: frozenset[str]) -> bool:
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    of = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name == "open" or name == "fdopen":
        texts = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        writes = any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)
        return writes or (of == "os" and name == "open")
    if name in WRITES_TO and not (isinstance(call.func, ast.Name) and name == "save"):
        return not opened & {value.id for value in values if isinstance(value, ast.Name)}
    if name in CHANGES_FILES_OF.get(of, ()):
        return True
    if name == "replace" and of and of != "dataclasses":
        return len(call.args) == 1 and not call.keywords  # of a path; that of a text takes two, of a record keywords
    return name in CHANGES_FILES and bool(of)  # without a module or an object, it is one of raynas/storage/files.py


def imported(file: Path) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Each name that a file takes from a module of ours, with its statement."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("raynas", "searchspaces"):
            for alias in node.names:
                yield node, alias.name


def modules() -> dict[str, Path]:
    named = {}
    for file in FILES:
        parts = file.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return named


def test_no_files_import_each_other_in_a_circle() -> None:
    files = modules()
    takes = {name: set[str]() for name in files}
    for name, file in files.items():
        for node, taken in imported(file):
            whole = f"{node.module}.{taken}"
            takes[name].add(whole if whole in files else str(node.module))
    # What imports nothing that is left is taken away, until only circles remain.
    while free := [name for name, others in takes.items() if not others & takes.keys() - {name}]:
        for name in free:
            del takes[name]
    assert not takes, "these are in circles, or import such: " + ", ".join(sorted(takes))


@pytest.mark.parametrize("folder", ["raynas", "searchspaces", "tests", "benchmarks", "examples"])
def test_no_private_name_is_imported(folder: str) -> None:
    for file in ROOT.glob(f"{folder}/**/*.py"):
        private = [name for _, name in imported(file) if name.startswith("_") and not name.startswith("__")]
        assert not private, f"{file.relative_to(ROOT)} imports {private}"


def test_only_the_room_of_ray_sets_what_ray_reads() -> None:
    for file in FILES:
        if file.relative_to(ROOT).parts[:2] == ("raynas", "cluster"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            sets = isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
            sets = sets or (isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("setdefault", "putenv"))
            strings = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)] if sets else []
            found = [text for text in strings if isinstance(text, str) and text.startswith("RAY_")]
            assert not found, f"{file.relative_to(ROOT)}:{node.lineno} sets {found}"


HOMES = {
    "raynas.models.families",
    "raynas.proxies",
    "raynas.report.kinds",
    "raynas.searchers",
    "raynas.training.objectives",
}
"""Modules that registries import at their first look-up, so that members below need not be known there."""


def test_registries_alone_reach_what_stands_below_and_each_is_known() -> None:
    named = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Registry"):
                named |= {ast.literal_eval(one) for one in node.args[2:]}
    assert named == HOMES


@pytest.mark.parametrize(
    "line",
    [
        "Path('run.yaml').write_text('x')",
        "(folder / 'a').write_bytes(b'x')",
        "path.open('wb')",
        "path.open(mode='a')",
        "open(path, 'w')",
        "io.open(path, 'x+')",
        "os.open(path, os.O_CREAT)",
        "os.replace(a, b)",
        "path.with_name('b').replace(path)",
        "path.unlink(missing_ok=True)",
        "stop_file.touch()",
        "path.rename(other)",
        "os.makedirs(folder)",
        "folder.mkdir()",
        "shutil.rmtree(folder, ignore_errors=True)",
        "shutil.move(a, b)",
        "import fcntl",
        "from fcntl import flock",
        "fcntl.flock(file, 2)",
        "pq.write_table(table, path)",
        "torch.save(state, path)",
        "np.savez(path, weights=w)",
        "save_file(weights, path)",
        "with path.open() as file:\n    torch.save(state, file)",
        "tempfile.mkdtemp()",
    ],
)
def test_whoever_changes_files_is_found(line: str) -> None:
    assert changes_files(f"def planted():\n    {line.replace(chr(10), chr(10) + '    ')}")


@pytest.mark.parametrize(
    "line",
    [
        "write_text(path, 'x')",
        "remove(path)",
        "move(path, other)",
        "path.open('rb')",
        "path.open()",
        "Image.open(file)",
        "name.replace('-', '_')",
        "architecture.replace(depth=3)",
        "replace(plan, config=config)",
        "dataclasses.replace(plan)",
        "with write_atomically(path) as file:\n    pq.write_table(table, file)",
        "with write_atomically(path, once=True) as file:\n    if True:\n        torch.save(state, file)",
        "yaml.dump(content)",
    ],
)
def test_who_reads_or_goes_through_the_door_is_left_alone(line: str) -> None:
    assert not changes_files(f"def planted():\n    {line.replace(chr(10), chr(10) + '    ')}")


MAY_READ = {
    "raynas/cluster/inquiry.py": "the socket of a node of Ray",
    "raynas/cluster/installed.py": "Python files that are installed, of which there is a hash",
    "raynas/cluster/ray_log.py": "what Ray says by itself, which is added to",
    "raynas/data/files.py": "images, which are the user's",
    "raynas/data/folder.py": "images, which are the user's",
    "raynas/data/parts.py": "images, which are the user's",
    "raynas/data/shards.py": "images, which are the user's",
    "raynas/data/parquet.py": "images, which are the user's",
    "raynas/data/torchvision_sets.py": "images, which are the user's",
    "raynas/recipes/reading.py": "what is installed with raynas",
    "raynas/report/asset_files.py": "what is installed with raynas",
    "raynas/exporting/export.py": "an export is a folder of its own",
    "raynas/exporting/plain_images.py": "images, which are the user's, read by exports",
    "raynas/installing.py": "marks of what has made an environment of Python",
}
"""Files beside raynas/storage/local_files.py that look for files or read them, and why they may."""

READS_FILES = {"exists", "is_file", "is_dir", "read_text", "read_bytes", "iterdir", "glob", "rglob", "stat", "lstat"}
"""What is called, as an attribute of whatever, to look for files or to read them."""

READS_FROM = {"read_table", "read_schema", "read_metadata", "ParquetFile", "load"}
"""Functions of libraries that read from a path or from an open file, which may be one of `opened`, or a text."""


def reads_files(text: str) -> list[int]:
    """Lines at which a file of Python looks for files or reads them by itself."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        of = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        first = ast.unparse(node.args[0]) if node.args else ""
        opens = name == "open" and of not in ("Image", "os")
        from_path = (
            name in READS_FROM and of in ("pq", "torch", "np") and first != "file" and "BufferReader" not in first
        )
        if opens or from_path or (name in READS_FILES and of):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(("lines_of", "may"), [(changes_files, MAY_WRITE), (reads_files, MAY_READ)])
def test_only_the_door_touches_the_files_of_runs(lines_of: Callable[[str], list[int]], may: dict[str, str]) -> None:
    found = {str(file.relative_to(ROOT)): lines_of(file.read_text()) for file in FILES}
    touching = {name: lines for name, lines in found.items() if lines}
    assert touching.pop("raynas/storage/local_files.py")
    touching.pop("raynas/storage/files.py", None)  # it hands on to the store that a path is in
    assert touching.keys() == may.keys(), f"these do it by themselves, at lines {touching}"


@pytest.mark.parametrize(
    "line",
    [
        "path.exists()",
        "(folder / 'run.yaml').read_text()",
        "path.read_bytes()",
        "list(folder.glob('part-*'))",
        "path.stat().st_size",
        "path.open('rb')",
        "open(path)",
        "pq.read_table(path)",
        "pq.ParquetFile(path)",
        "torch.load(path, weights_only=True)",
        "np.load(folder / 'weights.npz')",
    ],
)
def test_whoever_reads_files_is_found(line: str) -> None:
    assert reads_files(line)


@pytest.mark.parametrize(
    "line",
    [
        "exists(path)",
        "read_text(path)",
        "with opened(path) as file:\n    torch.load(file)",
        "pq.ParquetFile(pa.BufferReader(read_bytes(path)))",
        "Image.open(file)",
        "json.loads(read_text(path))",
        "yaml.load(text, Loader=loader)",
    ],
)
def test_who_reads_through_the_door_is_left_alone(line: str) -> None:
    assert not reads_files(line)


FRAGMENTS = {"Of", "By", "From", "In", "Such", "With", "To", "Its", "Their", "That", "Whose", "At"}
"""First words of a docstring, or of an argument's entry in one, that go on from a name and do not say what it is."""


def fragments(text: str) -> list[tuple[int, str]]:
    """Lines of a file of Python at which a docstring, or an entry in one, is a fragment, also below a field."""
    found = []
    for node in ast.walk(ast.parse(text)):
        docstring = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
        if not isinstance(docstring, str):
            continue
        section, indent = "", 0
        for number, line in enumerate(docstring.split("\n")):
            if heading := re.fullmatch(r"( *)(\w+):", line):
                indent, section = len(heading[1]), heading[2]
            entry = re.match(rf" {{{indent + 4}}}[\w*][\w*, ]*: (\w+)", line)
            first = entry if section in ("Args", "Attributes") else None
            first = first if number else re.match(r"(\w+)", line)
            if first and first[1] in FRAGMENTS:
                found.append((node.lineno + number, line.strip()))
    return found


def test_docstrings_say_what_things_are() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number} {line}" for file in FILES for number, line in fragments(file.read_text())
    ]
    assert not found, "these say what something is of, by or in, and not what it is:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("docstring", "line"),
    [
        ("Of an epoch.", 2),
        ("With an absolute path, since workers start elsewhere.", 2),
        ("Read a run.\n\n    Args:\n        folder: Of the run.", 5),
        ("Read a run.\n\n    Args:\n        folder: The folder.\n        names, texts: By number.", 6),
        ("Read a run.\n\n    Args:\n        folder: The folder,\n            whole.\n        **more: To pass on.", 7),
        ("Read a run.\n\n    Attributes:\n        teacher: At work.", 5),
    ],
)
def test_a_fragment_is_found(docstring: str, line: int) -> None:
    assert [number for number, _ in fragments(f'def planted():\n    """{docstring}\n    """')] == [line]


@pytest.mark.parametrize(
    "docstring",
    [
        "The number of steps of an epoch.",
        "Interrupt a run.\n\n    In the end, its folder is closed.",
        "Read a run.\n\n    Args:\n        folder: The folder of the run, as\n            name: In words.",
        "Read a run.\n\n    Args:\n        folder: The folder.\n\n    Raises:\n        OSError: In no folder.",
        "Read a run.\n\n    Args:\n        folder: Totals of a run are in it.",
    ],
)
def test_what_says_what_it_is_is_left_alone(docstring: str) -> None:
    assert not fragments(f'def planted():\n    """{docstring}\n    """')


def test_a_fragment_below_a_field_is_found() -> None:
    assert fragments('class Planted:\n    names: tuple[str, ...]\n    """In label order."""')


def test_long_files_say_why() -> None:
    for file in [*FILES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        text = file.read_text()
        if text.count("\n") > 400:
            reason = ast.get_docstring(ast.parse(text)) or ""
            assert "one file" in reason.lower(), f"{file.relative_to(ROOT)} is long, and its head does not say why"
