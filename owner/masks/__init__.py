"""Recognition masks: drawing them, studies, selection in the published order, recognition under them.

Knows pictures and torch; no cloud.
"""
