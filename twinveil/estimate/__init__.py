"""What a query costs before it runs: operations, bytes and messages by formula, seconds by calibration.

Knows plans and engines' layouts; starts nothing and asks nobody.
"""
