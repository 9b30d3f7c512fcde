"""Training and measuring the embedded prior, the encoder `QualityCLIPEncoder` (see
docs/quality-prior.md).
"""
