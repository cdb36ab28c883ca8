"""How well a delineation agrees with a reference."""
