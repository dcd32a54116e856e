"""What owner and user cut in two, and how the answer's halves are joined: both ends of each format.

Knows plans and integers modulo N; no ciphertext and no transport.
"""
