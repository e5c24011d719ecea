"""What a model says of itself so that it can leave as code that imports no raynas."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_LINE_LENGTH = 120

FITS_WEIGHTS = "checkpoint_filter_fn"
"""The name of the function by which the text of a module, as timm's files do, fits weights to another image side.

It takes all weights by name and the network, and returns the weights.
"""
_COMMENT: dict[str, Any] = {
    "initial_indent": "# ", "subsequent_indent": "# ", "break_long_words": False, "break_on_hyphens": False
}  # fmt: skip


@dataclass(frozen=True)
class PlainCode:
    """A model as the text of a module and the arguments of a call; models return one from a method `plain_code`.

    The network that the call makes has the parameter and buffer names of the model.

    Args:
        source: Text of a module that defines or imports the network; its imports stand together at the top. `source_of`
            makes such a text of a module that builds on others.
        network: Name of a class or function in it, which is called with keywords only and gives the network.
        settings: Those keywords, whose values can be written as Python literals.
        packages: What the module imports beside the standard library.
        first_conv: Name of the convolution that takes in images, for timm; None: there is no such layer.
        classifier: Name of the layer that gives out logits, for timm, or names of several; None: there is none.
        timm_name: Name by which timm itself makes the network, of keywords of `timm.create_model`, with all that timm
            knows of it; None: it is none of timm's registered ones.
    """

    source: str
    network: str
    settings: Mapping[str, Any]
    packages: tuple[str, ...] = ("torch",)
    first_conv: str | None = None
    classifier: str | tuple[str, ...] | None = None
    timm_name: str | None = None

    @property
    def fits_weights(self) -> bool:
        """Whether the module defines or imports `checkpoint_filter_fn`."""
        tree = ast.parse(self.source)
        imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        return FITS_WEIGHTS in imported | {name for node in tree.body for name in _names_defined(node)}


def source_of(module: ModuleType) -> str:
    """The text of a module together with those modules of its own package that it imports, as the text of one module.

    What a module imports stands before it, below a heading and its docstring as a comment. The docstring of the whole
    is that of the module asked for.

    Args:
        module: A module whose imports stand together at the top, as do those of the modules that it builds on. From
            modules of its package it imports names, without giving them others.

    Raises:
        ValueError: A module of the package is imported in another form, or two modules define one name.
    """
    parts = [_Part(one) for one in _with_what_it_imports(module)]
    owners: dict[str, str] = {}
    for part in parts:
        for name in part.defined:
            if owners.setdefault(name, part.module) != part.module:
                raise ValueError(f"{owners[name]} and {part.module} both define {name}, so they cannot be one text")
    imports = list(dict.fromkeys(ast.unparse(node) for part in parts for node in part.imports_of_others))
    bodies = [part.body for part in parts] if len(parts) == 1 else [part.headed(part is parts[-1]) for part in parts]
    return "\n".join([f'"""{parts[-1].docstring}\n"""\n', *imports, "\n", "\n\n\n".join(bodies)]) + "\n"


def _with_what_it_imports(module: ModuleType) -> list[ModuleType]:
    """A module of a package and all others of that package that its text builds on, each after those it imports."""
    found: dict[str, ModuleType] = {}
    for name in _Part(module).builds_on:
        for one in _with_what_it_imports(sys.modules[name]):
            found.setdefault(one.__name__, one)
    return [*found.values(), module]


class _Part:
    """A module's text, taken apart."""

    def __init__(self, module: ModuleType) -> None:
        source = inspect.getsource(module)
        tree = ast.parse(source)
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        self.module = module.__name__
        self.docstring = ast.get_docstring(tree) or ""
        own = [node for node in imports if self._is_of_its_package(node)]
        self.builds_on = [str(node.module) for node in own if isinstance(node, ast.ImportFrom)]
        self.imports_of_others = [node for node in imports if node not in own]
        self.body = "\n".join(source.splitlines()[(imports[-1].end_lineno or 0) if imports else 0 :]).strip("\n")
        self.defined = {name for node in tree.body for name in _names_defined(node)}

    def headed(self, is_last: bool) -> str:
        """The body below a heading and the docstring; that of the last part stands at the top of the whole text."""
        lines = [f"# -- {self.module.rpartition('.')[2].replace('_', ' ')} ".ljust(_LINE_LENGTH, "-")]
        for paragraph in [] if is_last else self.docstring.split("\n\n"):
            lines += ["#" if len(lines) > 1 else "", *textwrap.wrap(paragraph, _LINE_LENGTH, **_COMMENT)]
        return "\n".join(lines) + "\n\n\n" + self.body

    def _is_of_its_package(self, node: ast.Import | ast.ImportFrom) -> bool:
        package = self.module.partition(".")[0]
        if isinstance(node, ast.Import):
            is_own = any(alias.name.partition(".")[0] == package for alias in node.names)
        else:
            is_own = node.level > 0 or str(node.module).partition(".")[0] == package
        if is_own and not _takes_names(node):
            raise ValueError(f"{self.module}: `{ast.unparse(node)}` cannot be part of one text; import names from it")
        return is_own


def _takes_names(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether a statement imports what a module defines, under the names that it has there."""
    if isinstance(node, ast.Import) or node.level or any(alias.asname for alias in node.names):
        return False
    module = sys.modules.get(str(node.module))
    return not any(isinstance(getattr(module, alias.name, None), ModuleType | None) for alias in node.names)


def _names_defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]
