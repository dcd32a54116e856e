"""From pictures to a model folder: data sets, the ICNN, training in integers, compiling to a plan.

Knows torch and files; no cloud and no transport.
"""
