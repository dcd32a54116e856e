"""Numbers modulo N^2 in batches, in C where it was built and in gmpy2 elsewhere, with the same results.

Knows numbers only: no keys' files, no protocol.
"""
