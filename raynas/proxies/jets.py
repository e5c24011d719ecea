"""First and second derivatives along a curve of inputs, carried through a network with the values.

A `Jet` is a tensor that depends on one real parameter, together with its derivatives by that parameter. Every operation
on jets computes those of its result by the chain rule, so one run of the network gives all of them, without a graph and
with less arithmetic than nested forward-mode differentiation. An operation without a rule here is differentiated on its
own by `torch.func.jvp`, nested for the second derivative. An operation in place gives its jet what the same one out of
place would return; where that is not known, or another jet shares the memory, it raises `NoRuleError`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Rule = Callable[..., Any]


class NoRuleError(NotImplementedError):
    """A network uses an operation that jets cannot pass; the message names it."""


class Jet(Tensor):
    """Value and derivatives of a tensor; as a tensor it is the value.

    Make one with `jet`. `terms` holds value, first and, for a jet of order 2, second derivative, of equal shape.
    """

    terms: tuple[Tensor, ...]
    shares_memory: bool = False

    @classmethod
    def __torch_function__(cls, func: Rule, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Apply the rule of an operation; without one, or where it does not cover the arguments, let torch do it."""
        kwargs = kwargs or {}
        if _is_in_place(func, kwargs):
            return _changed(func, args, {name: value for name, value in kwargs.items() if name != "inplace"})
        rule = _RULES.get(func)
        result = rule(*args, **kwargs) if rule is not None else NotImplemented
        result = _by_torch(func, args, kwargs) if result is NotImplemented else result
        _note_shared(result, args)
        return result


def jet(*terms: Tensor) -> Jet:
    """The jet of a value and its derivatives, plain tensors of equal shape."""
    made = terms[0].as_subclass(Jet)
    made.terms = terms
    return made


_RULES: dict[Rule, Rule] = {}


def _rule(*functions: Rule) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(functions, rule))
        return rule

    return add


def _value(x: Any) -> Any:
    return x.terms[0] if isinstance(x, Jet) else x


def _derivative(x: Any, i: int) -> Tensor | None:
    """The i-th derivative, or None for what does not depend on the parameter."""
    return x.terms[i] if isinstance(x, Jet) else None


def _order(*inputs: Any) -> int:
    """Number of terms of the first jet, 0 if there is none."""
    return next((len(x.terms) for x in inputs if isinstance(x, Jet)), 0)


# -- operations in place -----------------------------------------------------------------------------------------------


def _name_of(func: Rule) -> str:
    return getattr(func, "__name__", str(func))


def _is_in_place(func: Rule, kwargs: dict[str, Any]) -> bool:
    name = _name_of(func)
    is_method = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"
    return is_method or "out" in kwargs or kwargs.get("inplace") is True


def _changed(func: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The jet that an operation in place was called on, with the terms of what the same one out of place returns."""
    name = _name_of(func)
    same = getattr(Tensor, name[:-1], None) if name.endswith("_") else func  # one with inplace=True has it out of place
    target = args[0] if args else None
    if not callable(same) or not isinstance(target, Jet) or target.shares_memory or "out" in kwargs:
        raise NoRuleError(f"the operation {name} in place has no derivatives along a curve here")
    target.terms = same(*args, **kwargs).terms
    return target


def _note_shared(result: Any, args: tuple[Any, ...]) -> None:
    """Note of jets that an operation has made views of others: neither can be changed without the other."""
    for made, given in product(result if isinstance(result, tuple) else (result,), args):
        if isinstance(made, Jet) and isinstance(given, Jet) and made is not given and _memory(made) == _memory(given):
            made.shares_memory = given.shares_memory = True


def _memory(x: Jet) -> int:
    return x.terms[0].untyped_storage().data_ptr()


# -- operations without a rule -----------------------------------------------------------------------------------------


def _by_torch(func: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = _name_of(func)
    # Nested forward mode gets the second derivative of instance_norm wrong, without an error (torch 2.15).
    if name == "instance_norm" or any(isinstance(x, list | tuple) and _order(*x) for x in args):
        raise NoRuleError(f"the operation {name} has no derivatives along a curve")
    at = [i for i, x in enumerate(args) if isinstance(x, Jet)]
    named = [key for key, x in kwargs.items() if isinstance(x, Jet)]
    jets = [args[i] for i in at] + [kwargs[key] for key in named]

    def function(*inputs: Tensor) -> Any:
        plain = list(args)
        for i, x in zip(at, inputs, strict=False):
            plain[i] = x
        return func(*plain, **{**kwargs, **dict(zip(named, inputs[len(at) :], strict=True))})

    terms: list[tuple[Tensor, ...]] = list(zip(*(x.terms for x in jets), strict=True))
    values, first = terms[:2]
    with torch.enable_grad(), warnings.catch_warnings():  # some formulas can be nested only in grad mode
        warnings.simplefilter("ignore", FutureWarning)  # torch scripts its decompositions on first use
        try:
            if len(terms) == 2:
                return _checked(name, *torch.func.jvp(function, values, first))

            def slope(*inputs: Tensor) -> Any:
                return torch.func.jvp(function, inputs[: len(values)], inputs[len(values) :])

            result: Any = torch.func.jvp(slope, (*values, *first), (*first, *terms[2]))
        except NotImplementedError as error:  # torch's own, of formulas that it lacks
            raise NoRuleError(f"the operation {name} has no derivatives along a curve: {error}") from error
    (value, d1), (_, d2) = result
    return _checked(name, value, d1, d2)


def _checked(name: str, *terms: Any) -> Jet:
    if not all(isinstance(term, Tensor) for term in terms):
        raise NoRuleError(f"the operation {name} has several results, and no rule for them")
    return jet(*(term.detach() for term in terms))


# -- what depends on the shape alone, and what is linear ---------------------------------------------------------------


def _of_value(func: Rule) -> Rule:
    return lambda x, *args, **kwargs: func(x.terms[0], *args, **kwargs)


def _linear(func: Rule) -> Rule:
    def rule(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Jet) or _order(*args, *kwargs.values()):
            return NotImplemented
        results = [func(term, *args, **kwargs) for term in x.terms]
        if isinstance(results[0], Tensor):
            return jet(*results)
        return tuple(jet(*terms) for terms in zip(*results, strict=True))

    return rule


for _property in ("shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_meta", "requires_grad"):
    _function = getattr(Tensor, _property).__get__
    _RULES[_function] = _of_value(_function)
for _name in ("size", "dim", "numel", "stride", "is_contiguous", "is_floating_point", "__len__"):
    _RULES[getattr(Tensor, _name)] = _of_value(getattr(Tensor, _name))
_LINEAR = """
    reshape view flatten unflatten permute transpose squeeze unsqueeze expand unfold contiguous unbind chunk split roll
    movedim mean sum neg __neg__ __getitem__
"""
for _name in _LINEAR.split():
    _RULES[getattr(Tensor, _name)] = _linear(getattr(Tensor, _name))
    if not _name.startswith("_") and hasattr(torch, _name):
        _RULES[getattr(torch, _name)] = _linear(getattr(torch, _name))
for _function in (F.unfold, F.avg_pool2d, F.adaptive_avg_pool2d):
    _RULES[_function] = _linear(_function)


@_rule(F.pad)
def _pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    first, *rest = x.terms
    return jet(F.pad(first, pad, mode, value), *(F.pad(term, pad, mode) for term in rest))


@_rule(F.dropout)
def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p:
        raise NoRuleError("dropout in training mode has no derivatives along a curve")
    return x


def _joined(func: Rule) -> Rule:
    def rule(tensors: Sequence[Any], dim: int = 0) -> Any:
        values = [_value(x) for x in tensors]
        terms = [func(values, dim)]
        for i in range(1, _order(*tensors)):
            parts = [_derivative(x, i) for x in tensors]
            filled = [torch.zeros_like(v) if part is None else part for v, part in zip(values, parts, strict=True)]
            terms.append(func(filled, dim))
        return jet(*terms)

    return rule


for _function in (torch.cat, torch.stack):
    _RULES[_function] = _joined(_function)


def _affine(func: Rule) -> Rule:
    def rule(x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Jet) or _order(weight, bias):
            return NotImplemented
        first, *rest = x.terms
        return jet(func(first, weight, bias, *args, **kwargs), *(func(t, weight, None, *args, **kwargs) for t in rest))

    return rule


_RULES[F.linear] = _affine(F.linear)
_RULES[F.conv2d] = _affine(F.conv2d)


@_rule(F.batch_norm)
def _batch_norm(
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if training:
        raise NoRuleError("batch_norm in training mode has no derivatives along a curve")
    first, *rest = x.terms
    zero = torch.zeros_like(mean)
    return jet(
        F.batch_norm(first, mean, var, weight, bias, eps=eps),
        *(F.batch_norm(term, zero, var, weight, None, eps=eps) for term in rest),
    )


# -- sums and products -------------------------------------------------------------------------------------------------


def _sum(func: Rule, sign: int) -> Rule:
    def rule(a: Any, b: Any, *, alpha: float = 1) -> Any:
        value = func(_value(a), _value(b), alpha=alpha) if alpha != 1 else func(_value(a), _value(b))
        terms = [value]
        for i in range(1, _order(a, b)):
            da, db = _derivative(a, i), _derivative(b, i)
            if da is None or db is None:
                term = da if db is None else db * (sign * alpha) if sign * alpha != 1 else db
                assert term is not None
                terms.append(term.expand(value.shape))
            else:
                terms.append(func(da, db, alpha=alpha))
        return jet(*terms)

    return rule


_rule(torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)(_sum(torch.add, 1))
_rule(torch.sub, Tensor.sub, Tensor.__sub__)(_sum(torch.sub, -1))


def _product(func: Rule) -> Rule:
    def rule(a: Any, b: Any) -> Any:
        if not isinstance(a, Jet):
            return jet(*(func(a, term) for term in b.terms))
        if not isinstance(b, Jet):
            return jet(*(func(term, b) for term in a.terms))
        (a0, a1, *a2), (b0, b1, *b2) = a.terms, b.terms
        terms = [func(a0, b0), func(a1, b0).add_(func(a0, b1))]
        if a2:
            terms.append(func(a2[0], b0).add_(func(a1, b1), alpha=2).add_(func(a0, b2[0])))
        return jet(*terms)

    return rule


_rule(torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__)(_product(torch.mul))
_rule(torch.matmul, Tensor.matmul, Tensor.__matmul__)(_product(torch.matmul))
_rule(torch.div, Tensor.div, Tensor.__truediv__)(_linear(torch.div))


# -- nonlinear functions -----------------------------------------------------------------------------------------------


@_rule(F.gelu)
def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate != "none":
        return NotImplemented
    x0, x1, *x2 = x.terms
    terms = [F.gelu(x0), torch.ops.aten.gelu_backward(x1, x0)]
    if x2:
        square = x0 * x0
        density = torch.exp(square * -0.5).mul_(1 / math.sqrt(2 * math.pi))
        second = density.mul_(2 - square).mul_(x1).mul_(x1)
        terms.append(second.add_(torch.ops.aten.gelu_backward(x2[0], x0)))
    return jet(*terms)


@_rule(F.relu, torch.relu, Tensor.relu)
def _relu(x: Any, inplace: bool = False) -> Any:
    first, *rest = x.terms
    return jet(first.relu(), *(torch.where(first > 0, term, 0) for term in rest))


@_rule(F.hardsigmoid)
def _hardsigmoid(x: Any, inplace: bool = False) -> Any:
    first, *rest = x.terms
    return jet(F.hardsigmoid(first), *(torch.where(first.abs() < 3, term / 6, 0) for term in rest))


@_rule(torch.tanh, Tensor.tanh)
def _tanh(x: Any) -> Any:
    x0, x1, *x2 = x.terms
    y = torch.tanh(x0)
    slope = 1 - y * y
    terms = [y, slope * x1]
    if x2:
        terms.append(slope * (x2[0] - 2 * y * x1 * x1))
    return jet(*terms)


@_rule(torch.rsqrt, Tensor.rsqrt)
def _rsqrt(x: Any) -> Any:
    x0, x1, *x2 = x.terms
    y = torch.rsqrt(x0)
    slope = -0.5 * y / x0
    terms = [y, slope * x1]
    if x2:
        terms.append(slope * (x2[0] - 1.5 * x1 * x1 / x0))
    return jet(*terms)


@_rule(torch.softmax, Tensor.softmax, F.softmax)
def _softmax(x: Any, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Any:
    if dtype is not None:
        return NotImplemented
    x0, x1, *x2 = x.terms
    y = torch.softmax(x0, dim)
    # y * (x1 - sum(y * x1)), which torch has as one kernel
    y1 = torch._softmax_backward_data(x1, y, dim, y.dtype)
    terms = [y, y1]
    if x2:
        change = torch.where(y > 0, y1 * y1 / y, 0)  # y1 * (x1 - sum(y * x1)), whose sum is that of y1 * x1
        second = change - y * change.sum(dim, keepdim=True)
        terms.append(second.add_(torch._softmax_backward_data(x2[0], y, dim, y.dtype)))
    return jet(*terms)


@_rule(F.layer_norm)
def _layer_norm(x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    dims = tuple(range(-len(shape), 0))
    centred = x - x.mean(dims, keepdim=True)
    y = centred * ((centred * centred).mean(dims, keepdim=True) + eps).rsqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@_rule(F.scaled_dot_product_attention)
def _attention(
    q: Any,
    k: Any,
    v: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if dropout_p or is_causal or enable_gqa:
        raise NoRuleError("attention with dropout, causal masks or grouped queries has no rule for derivatives")
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, -math.inf)
    attn = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    attn = attn if attn_mask is None else attn + attn_mask
    return attn.softmax(-1) @ v
