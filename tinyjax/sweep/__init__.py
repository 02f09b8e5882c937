"""Sweeps: many models trained alike, and compared as in the TinyStories paper's Figures 3, 4, 23 and 24."""
