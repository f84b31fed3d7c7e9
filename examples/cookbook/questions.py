"""All questions, chapter by chapter. Run `python -m examples.cookbook.page` to write `docs/cookbook.md` anew."""

from examples.cookbook import relations, reporting
from examples.cookbook.recipes import RECIPES

__all__ = ["RECIPES", "relations", "reporting"]
