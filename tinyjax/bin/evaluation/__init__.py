"""The parts of the binary `evaluate`, each with its own flags."""
