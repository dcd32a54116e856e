"""Cloud S2: makes and keeps the secret key, decrypts what is masked, evaluates circuits.

Knows S2's side of the protocol only; never calls anybody.
"""
