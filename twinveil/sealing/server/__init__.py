"""The sealing server's inside: enrolment, verification, store, metrics.

A device reaches nothing of it.
"""
