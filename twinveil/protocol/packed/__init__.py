"""The packed engine: every power of a ciphertext before the picture, integers modulo 2^L at it.

Layouts and costs follow from the plan alone (`geometry`, `kernel_sums`, `input_sums`, `layout`, `plan`,
`turns`, `cost`); `model/`, `item/` and `online/` are the three conversations.
"""
