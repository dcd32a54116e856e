"""The library's own commands: serve, status, kits, preflight, views, sealing.

Roles have theirs in a module `verbs` of their own.
"""
