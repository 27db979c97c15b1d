"""The command line, the only part of `zoo` that may import `zoo_benchmark`.

Each command imports what it needs when it runs.
"""
