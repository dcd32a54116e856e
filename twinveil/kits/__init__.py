"""One folder a role from one description of a project: configuration, key, certificate, instructions.

Knows settings and certificates; starts nothing.
"""
