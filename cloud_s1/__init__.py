"""Cloud S1: holds ciphertexts and shares, computes on them, garbles.

Knows its way to S2 and S1's side of the protocol; no secret key, nothing of S2's side.
"""
