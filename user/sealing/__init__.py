"""A device that seals pictures, and paying by face in the terminal.

Knows the sealing server by its service; nothing of its inside.
"""
