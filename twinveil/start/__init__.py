"""How a process begins: settings from flag, environment and file, the role's main program, a local cluster.

Knows transport and services by their settings; nothing of the protocol.
"""
