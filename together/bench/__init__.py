"""Measurements of the whole system: one picture, a stream, growth, every step by itself.

Knows how to start the roles and call the user's client; has no formula of its own: twinveil.estimate does.
"""
