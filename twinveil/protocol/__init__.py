"""What the clouds do together: import of a model, items and queries, of two engines.

`s1.py` and `s2.py` never meet. Knows rounds, never transport, files or roles. README.md: what each side sees.
"""
