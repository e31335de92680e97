"""Token ids that every problem and model agrees on; docs/architecture.md, "Token ids"."""

PAD, BOS, EOS, UNK = 0, 1, 2, 3
FIRST_POSITION = 3
"""Token id of point 0 in pointing problems; point i is FIRST_POSITION + i."""
