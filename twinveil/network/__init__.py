"""What is computed: plan, layers, stages, integers, model card, model folder, and the oracle.

Knows numbers and files; nothing of ciphertexts, transport or roles.
"""
