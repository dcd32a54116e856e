"""The command line's machinery: finding verbs, options made of settings, progress.

Imports no role and no verb: each is loaded when it is asked for.
"""
