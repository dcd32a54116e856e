"""Garbled circuits and oblivious transfer, over arrays.

Knows no Paillier, no plan and no transport.
"""
