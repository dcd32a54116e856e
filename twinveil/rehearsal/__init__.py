"""Both clouds in one process: for experiments of a model's owner, with a key made for them, and for tests.

No role imports it.
"""
