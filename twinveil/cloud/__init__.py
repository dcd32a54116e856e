"""What both clouds need and nobody else: store, models in memory, waiting halves, requests, memory, Dask workers.

Knows neither S1's nor S2's side.
"""
