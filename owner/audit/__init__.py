"""Inversion risk: how well an attacker rebuilds pictures from what a model or a cloud's view gives away.

Knows models and recorded views; no secret key and no cloud's engine.
"""
