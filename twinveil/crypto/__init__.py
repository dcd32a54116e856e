"""Paillier: keys, ciphertexts, nonces, packing, products of powers.

Public and secret key are types of their own, in modules of their own. Knows no transport and no circuit.
"""
