"""Side-by-side measurements of this package and its peers; `README.md` says how to run them."""
