"""The tables of scripts/benchmark.py, one file each; a file adds its command with ``add(commands)``."""
