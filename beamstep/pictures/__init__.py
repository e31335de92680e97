"""Pictures of answers and of runs; matplotlib and SciPy (extra `pictures`) are imported only where one is drawn."""
