"""How the documentation is built: Sphinx with Markdown pages, from files of this project alone.

Nothing is fetched while building: no intersphinx, no fonts or scripts of other sites. Warnings are errors (`make docs`), so a broken link
or reference fails.
"""

from importlib.metadata import version as installed_version

project = "trioorm"
author = "The trioorm authors"
copyright = "2026, The trioorm authors"
version = release = installed_version("trioorm")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "storm-figures.md"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# "Checkpoint:" tells where an async function may be cancelled; "Source:" where an idea or a number comes from.
napoleon_custom_sections = [("Checkpoint", "returns_style"), ("Source", "returns_style")]

# Types of other packages are named in signatures and have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!trioorm\b).*")]

html_theme = "furo"
html_title = "trioorm"
html_show_sourcelink = False
