"""gRPC over mutual TLS: addresses, certificates, channels, servers, who may call what, limits.

Knows roles by name and calls by size and time; nothing of what is computed.
"""
