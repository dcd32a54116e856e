"""Half gates, their hash and what extends transfers, in C over the processor's AES; optional.

Knows labels only. twinveil/garbling/portable.py does the same with numpy and `cryptography`.
"""
