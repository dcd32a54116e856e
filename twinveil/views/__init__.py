"""What a cloud saw, written down, and whether it says anything.

Knows recordings; no secret key and no cloud's engine.
"""
