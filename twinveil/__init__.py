import os
import sys

# TLS 1.3 only. gRPC for Python cannot name a lowest version, but it reads this variable once, when it is
# first imported: the one cipher suite left for TLS 1.2 wants a pre-shared key, which no side has, so that no
# 1.2 handshake can succeed, whatever the certificates are.
_VARIABLE, _SUITE = "GRPC_SSL_CIPHER_SUITES", "ECDHE-PSK-CHACHA20-POLY1305"

TLS_1_3_ONLY = "grpc" not in sys.modules or os.environ.get(_VARIABLE) == _SUITE
os.environ[_VARIABLE] = _SUITE

# Our errors say what gRPC's own log lines mean. Whoever wants those, too, sets GRPC_VERBOSITY=INFO.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
