"""What owner and user cut in two, and how the answer's halves are joined: both ends of each format.

Knows plans, integers modulo 2^L and modulo N; no ciphertext and no transport.
"""
