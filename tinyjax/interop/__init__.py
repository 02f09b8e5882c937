"""Models to and from the formats of other programs; each format reads into and writes from `model.Model`."""
