"""Both clouds in one process of its own, for experiments of a model's owner.

No role imports it.
"""
