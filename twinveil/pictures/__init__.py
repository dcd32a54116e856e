"""Pictures from files, and masks over them.

Knows what a network wants to see (its card); nothing of protocol or transport.
"""
