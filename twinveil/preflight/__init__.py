"""What is not right yet on a host, and what to do about it.

Reads kits, this machine and live peers; changes nothing.
"""
