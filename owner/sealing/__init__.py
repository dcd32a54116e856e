"""The owner's part of sealed pictures: training its networks, its server's process, its bench and fuzzer.

The server's process (`services`, `__main__`) needs no torch.
"""
