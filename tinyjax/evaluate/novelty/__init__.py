"""Novelty: what stories have in common with those that a model was trained on, and with each other.

As in section 4.4 of the paper (Eldan & Li 2023), exact over the whole training set.
"""
