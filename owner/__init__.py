"""The owner: trains or brings a network, hands it blinded to both clouds, tells users about it.

The only role that needs torch. Knows both clouds by their services; no other role's code, no secret key.
"""
