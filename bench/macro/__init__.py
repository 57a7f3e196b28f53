"""The macro bench: whole proxies under whole loads, one idea a file; `bench/run.py` is the way in."""
