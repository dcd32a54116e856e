"""The payment page on loopback: a form, then fragments.

Knows payments and the session with the server; no protocol.
"""
