"""Rules for Unicode text: its normalization forms, SentencePiece's normalization, and words."""
