"""All questions, chapter by chapter. Run `python -m examples.cookbook.page` to write `docs/cookbook.md` anew."""

from examples.cookbook import changes, documents, graph, groups, relations, reporting, sets, texts, windows
from examples.cookbook.recipes import RECIPES

__all__ = ["RECIPES", "changes", "documents", "graph", "groups", "relations", "reporting", "sets", "texts", "windows"]
