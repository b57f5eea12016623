"""Stage 2: cuts -> audio tokens, stored once per recording."""
