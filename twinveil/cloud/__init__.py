"""What both clouds need and nobody else: their store, models in memory, waiting halves, Dask workers.

Knows neither S1's nor S2's side.
"""
