"""The engine whose ciphertexts are all made ahead of the picture; queries do not use it yet.

Knows what its brothers know: layouts, ciphertexts, circuits. No transport, no user and no owner.
"""
