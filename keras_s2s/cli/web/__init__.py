"""The page of `keras-s2s web`: one model, or two side by side, in the browser."""
