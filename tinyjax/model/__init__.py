"""The network: one declaration per parameter, attention, and the decoder."""
