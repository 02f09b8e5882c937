"""Evaluation: how well a model predicts stories it has not seen."""
