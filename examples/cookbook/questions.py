"""All questions, chapter by chapter."""

from examples.cookbook import changes, documents, graph, groups, relations, reporting, sets, texts, windows
from examples.cookbook.recipes import RECIPES

CHAPTERS = (reporting, relations, groups, windows, texts, documents, graph, sets, changes)

QUESTIONS = sorted(RECIPES, key=lambda recipe: [chapter.__name__ for chapter in CHAPTERS].index(recipe.statement.__module__))
"""In the order of the chapters; within one as they are written."""
