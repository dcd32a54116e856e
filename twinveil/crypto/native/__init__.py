"""Arithmetic modulo n^2 in C, several numbers at once, and the choice of it; gmpy2 does the same without it.

Knows numbers alone, no key and no ciphertext.
"""
