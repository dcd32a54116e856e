"""What both clouds need and nobody else: store, loaded models, waiting halves, requests, memory, Dask.

Knows neither S1's nor S2's side.
"""
