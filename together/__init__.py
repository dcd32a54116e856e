"""What looks at the whole system from above: the demo, the bench and the estimate.

Stands above all roles and may import every one of them; nothing imports it.
"""
