import os

# TLS 1.3 only. gRPC for Python cannot name a lowest version, but it reads this once, when it is first
# imported: the one cipher suite offered to TLS 1.2 wants an RSA certificate, and the roles' certificates are
# ECDSA, so no 1.2 handshake can succeed.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES256-GCM-SHA384"
