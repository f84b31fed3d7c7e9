"""The tests. A package, so that no other package of this name, which some library may install beside itself, is taken for it."""
