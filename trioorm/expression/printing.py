"""How an expression or statement shows itself: as SQL without its values.

The SQL is made by `compiler/`, four floors up, which expressions must not know; `trioorm` hands in what imports it. Values never show,
because a bind value may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable

from trioorm.expression.shape import Shape

Renderer = Callable[[Shape], str]

_installed: list[Renderer] = []


def install_renderer(renderer: Renderer) -> None:
    """Say how shapes become text; the last one installed is used."""
    _installed[:] = [renderer]


def text_of(shape: Shape) -> str:
    """A shape as SQL to read; its bare tuple when no renderer is installed."""
    return _installed[0](shape) if _installed else repr(shape)
