"""One conversation between S1 and S2 without a transport: messages, chunks, counting, observing.

Knows the messages' types and order; neither gRPC nor what the numbers in them mean.
"""
