"""Sealed pictures: factors in integers, envelope, keys, device.

Knows neither transport, torch nor the protocol.
"""
