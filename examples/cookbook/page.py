"""`docs/cookbook.md`, made from the questions: `python -m examples.cookbook.page` writes it anew."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from examples.cookbook.questions import QUESTIONS
from examples.cookbook.recipes import Recipe

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"

_HEAD = """\
# Cookbook

{number} questions about films, each as SQL that somebody would write by hand and as the builder says it. The tests run both on the same
753 real films and compare every row; both type checkers pass all of it. The models are in `examples/cookbook/models.py`.

This page is made from `examples/cookbook`: `python -m examples.cookbook.page`.
"""


def page() -> str:
    """The page as a text."""
    return _HEAD.format(number=len(QUESTIONS)) + "".join(_chapters())


def _chapters() -> Iterator[str]:
    for chapter, recipes in groupby(QUESTIONS, key=lambda recipe: recipe.chapter):
        yield f"\n## {chapter}\n"
        for recipe in recipes:
            yield _entry(recipe)


def _entry(recipe: Recipe) -> str:
    return f"\n### {recipe.title}\n\n```sql\n{recipe.sql}\n```\n\n```python\n{recipe.source}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
