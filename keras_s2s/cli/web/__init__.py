"""Web page of `keras-s2s web`: try one model, or compare two side by side."""
