"""One module a .proto, both ends: the thin shell that serves, and the call from the other side.

Knows transport and message types; what a call does is a handler's, which a role brings.
"""
