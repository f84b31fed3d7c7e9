"""Programs that measure trioorm; not part of the package."""
