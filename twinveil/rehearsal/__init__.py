"""Both clouds in one process: for experiments of a model's owner, who gives it a key of its own, and for tests.

No role imports it.
"""
